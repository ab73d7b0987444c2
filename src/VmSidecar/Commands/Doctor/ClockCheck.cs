namespace VmSidecar.Commands.Doctor;

/// <summary>The clock is not behind what this host has been given: certificates and tokens live by it.</summary>
internal sealed class ClockCheck : IDoctorCheck
{
    private static readonly TimeSpan Tolerance = TimeSpan.FromMinutes(1);

    public string Code => "CLK001";

    public string Title => "clock";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        DateTimeOffset now = context.Time.GetUtcNow();
        string[] files = [context.Paths.ClusterEnv, context.Paths.Mesh, context.Options.Identity.TokenFile ?? context.Paths.ClusterEnv];
        DateTimeOffset newest = files.Where(File.Exists).Select(f => new DateTimeOffset(File.GetLastWriteTimeUtc(f))).DefaultIfEmpty(DateTimeOffset.MinValue).Max();
        return Task.FromResult(newest > now + Tolerance
            ? Finding.Fail($"the clock says {now:yyyy-MM-dd HH:mm} UTC, but files here were written at {newest:yyyy-MM-dd HH:mm}", "Set the clock (timedatectl set-ntp true)")
            : Finding.Ok($"{now:yyyy-MM-dd HH:mm:ss} UTC"));
    }
}
