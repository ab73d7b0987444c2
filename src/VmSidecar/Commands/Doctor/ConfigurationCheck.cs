using VmSidecar.Configuration;

namespace VmSidecar.Commands.Doctor;

/// <summary>All settings read without a mistake.</summary>
internal sealed class ConfigurationCheck : IDoctorCheck
{
    public string Code => "CFG001";

    public string Title => "configuration";

    public IReadOnlyList<string> Needs => [];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        ConfigError[] mistakes = [.. context.Load.Mistakes];
        if (mistakes.Length == 0) { return Task.FromResult(Finding.Ok($"{context.Load.Settings.Length} settings, no mistake")); }
        ConfigError first = mistakes[0];
        string more = mistakes.Length == 1 ? "" : $" (and {mistakes.Length - 1} more: see 'vmsidecar check')";
        return Task.FromResult(Finding.Fail($"{first.File}{(first.Line > 0 ? $":{first.Line}" : "")}: {first.Key}: {first.Problem}{more}", first.Fix));
    }
}
