using System.Collections.ObjectModel;
using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// Runs a program to its end: no shell, a fixed locale, both outputs read while it runs and kept up to a bound, killed when its time
/// is over or the caller stops waiting. Never throws for what the program does; a program that cannot be started has a result too.
/// </summary>
internal sealed class CommandRunner(TimeSpan timeout, TimeProvider time) : ICommandRunner
{
    /// <summary>Enough for the rules of a host with tens of thousands of them; more would be a runaway.</summary>
    private const int MaxOutput = 64 * 1024 * 1024;

    /// <summary>System tools live in sbin, which a unit's or a user's PATH may lack.</summary>
    public static readonly string SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>The file <paramref name="program"/> stands for, or null.</summary>
    public static string? Find(string program) => program.Contains('/', StringComparison.Ordinal)
        ? File.Exists(program) ? program : null
        : SearchPath.Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);

    /// <summary>What programs find in their environment; null: a search path and the C locale, because what the agent was started with is no business of a tool.</summary>
    public IReadOnlyDictionary<string, string>? Environment { get; init; }

    public async Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
    {
        if (Find(program) is not { } path) { return new(CommandResult.NotStarted, "", $"{program} is not installed"); }
        using var process = new Process { StartInfo = StartInfo(path, arguments) };
        try
        {
            ProgramImage.UnblockSignals(); // in an agent that has taken another's place, threads that were there before the handlers may have them blocked, and a child takes that over
            process.Start();
        }
        catch (Win32Exception e)
        {
            return new(CommandResult.NotStarted, "", $"{path}: {e.Message}");
        }
        using var overrun = new CancellationTokenSource(timeout, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, overrun.Token);
        Task<string> output = ReadAsync(process.StandardOutput, both.Token), error = ReadAsync(process.StandardError, both.Token);
        try
        {
            await WriteAsync(process.StandardInput, input, both.Token).ConfigureAwait(false);
            await Task.WhenAll(output, error).ConfigureAwait(false);
            await process.WaitForExitAsync(both.Token).ConfigureAwait(false);
            return new(process.ExitCode, await output.ConfigureAwait(false), await error.ConfigureAwait(false));
        }
        catch (OperationCanceledException) when (both.IsCancellationRequested)
        {
            Kill(process);
            await ((Task)Task.WhenAll(output, error)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            stop.ThrowIfCancellationRequested();
            return new(CommandResult.TimedOut, "", $"{program} did not end within {timeout.TotalSeconds:0} s and was killed");
        }
    }

    private ProcessStartInfo StartInfo(string path, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(path, arguments)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
            WorkingDirectory = "/",
        };
        start.Environment.Clear();
        foreach ((string name, string value) in Environment ?? ReadOnlyDictionary<string, string>.Empty) { start.Environment[name] = value; }
        if (Environment is not null) { return start; }
        start.Environment["PATH"] = SearchPath;
        start.Environment["LC_ALL"] = "C";
        return start;
    }

    private static async Task WriteAsync(StreamWriter stdin, string input, CancellationToken stop)
    {
        try
        {
            await stdin.WriteAsync(input.AsMemory(), stop).ConfigureAwait(false);
            stdin.Close();
        }
        catch (IOException)
        {
            // It ended without reading all of its input: its exit code tells why.
        }
    }

    private static async Task<string> ReadAsync(StreamReader reader, CancellationToken stop)
    {
        var text = new StringBuilder();
        char[] buffer = new char[8192];
        while (await reader.ReadAsync(buffer, stop).ConfigureAwait(false) is int count and > 0)
        {
            if (text.Length < MaxOutput) { text.Append(buffer, 0, count); } // past the bound: read on, so that it does not block
        }
        return text.ToString();
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception or AggregateException)
        {
            // It has just ended.
        }
    }
}
