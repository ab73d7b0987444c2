using System.Diagnostics;

using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests;

/// <summary>
/// Runs one explicit test of this assembly in a process of its own. What a test says about the memory of the whole process is about that test
/// only there: beside others the heap holds hundreds of megabytes of theirs, which come and go (GC.GetTotalMemory settles within 5 % of all of it).
/// </summary>
internal static class OwnProcess
{
    private const int LongestRun = 5; // deadlines: one event may take one, this is a few hundred of them

    /// <summary>Fails with the other process's output when the test fails there, or does not run at all.</summary>
    /// <param name="method">The test, with its namespace and class.</param>
    /// <param name="within">A command that is to run it, such as one that gives it mounts of its own.</param>
    public static Task RunAsync(string method, params string[] within) => RunAsync(StartInfo(method, within), method);

    /// <summary>The same with a runtime whose pool of arrays keeps one of each size, not as many as were ever in use at once, so that the heap tells what is held.</summary>
    public static Task RunWithFewPooledArraysAsync(string method)
    {
        ProcessStartInfo start = StartInfo(method, []);
        start.Environment["DOTNET_SYSTEM_BUFFERS_SHAREDARRAYPOOL_MAXARRAYSPERPARTITION"] = "1";
        start.Environment["DOTNET_SYSTEM_BUFFERS_SHAREDARRAYPOOL_MAXPARTITIONCOUNT"] = "1";
        return RunAsync(start, method);
    }

    private static async Task RunAsync(ProcessStartInfo start, string method)
    {
        using var process = new Process { StartInfo = start };
        process.Start();
        Task<string[]> words = Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var limit = new CancellationTokenSource(Test.Deadline * LongestRun);
        try { await process.WaitForExitAsync(limit.Token); }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{method} did not end in its own process\n{await SaidAsync()}");
        }
        string said = await SaidAsync();
        Assert.True(process.ExitCode == 0, said);
        Assert.Contains("Total: 1, Errors: 0, Failed: 0, Skipped: 0, Not Run: 0", said, StringComparison.Ordinal);

        async Task<string> SaidAsync()
        {
            try { return string.Concat(await words.WaitAsync(Test.Deadline)); }
            catch (TimeoutException) { return "(something it has started holds its output open)"; }
        }
    }

    private static ProcessStartInfo StartInfo(string method, string[] within)
    {
        string self = Environment.ProcessPath!, assembly = Path.Combine(AppContext.BaseDirectory, "VmSidecar.Tests.dll");
        string[] arguments = ["-noColor", "-explicit", "only", "-method", method];
        bool host = Path.GetFileNameWithoutExtension(self) == "dotnet";
        string[] command = [.. within, self, .. host ? (string[])["exec", assembly] : [], .. arguments];
        return new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
    }
}
