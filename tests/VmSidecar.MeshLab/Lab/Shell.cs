using System.Diagnostics;

namespace VmSidecar.MeshLab.Lab;

/// <summary>What a finished command said.</summary>
internal sealed record ShellResult(int Exit, string Output, string Error)
{
    /// <summary>Both streams, for the transcript.</summary>
    public string All => Error.Length == 0 ? Output : Output + Error;
}

/// <summary>Runs a command to its end, in a namespace and as a user where asked; never through a shell.</summary>
internal static class Shell
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>The arguments that put a command into a network namespace (with its own /etc/hosts and resolv.conf) and under a uid.</summary>
    public static string[] Inside(string? netns, int? uid, params string[] command)
    {
        List<string> all = ["setsid"]; // a Ctrl-C at the terminal is the lab's own; it stops the others in order
        if (netns is not null) { all.AddRange(["ip", "netns", "exec", netns]); }
        if (uid is { } id) { all.AddRange(["setpriv", $"--reuid={id}", $"--regid={id}", "--clear-groups", "--"]); }
        return [.. all, .. command];
    }

    /// <summary>Runs and collects; a command that does not end in a minute is killed and reported.</summary>
    public static async Task<ShellResult> RunAsync(string[] command, CancellationToken stop, string? input = null)
    {
        using var process = new Process { StartInfo = Info(command, input is not null) };
        process.Start();
        using var timer = new CancellationTokenSource(Limit);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, timer.Token);
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(both.Token), error = process.StandardError.ReadToEndAsync(both.Token);
            if (input is not null)
            {
                await process.StandardInput.WriteAsync(input.AsMemory(), both.Token);
                process.StandardInput.Close();
            }
            await process.WaitForExitAsync(both.Token);
            return new ShellResult(process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            stop.ThrowIfCancellationRequested();
            throw new LabException($"'{string.Join(' ', command)}' did not end within {Limit.TotalSeconds} s");
        }
    }

    /// <summary>Runs a command that must succeed.</summary>
    public static async Task<string> MustAsync(CancellationToken stop, params string[] command)
    {
        ShellResult result = await RunAsync(command, stop);
        return result.Exit == 0 ? result.Output : throw new LabException($"'{string.Join(' ', command)}' failed ({result.Exit}): {result.Error.Trim()}");
    }

    /// <summary>Start information without a shell.</summary>
    public static ProcessStartInfo Info(string[] command, bool input)
    {
        var info = new ProcessStartInfo(command[0]) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = input, UseShellExecute = false, WorkingDirectory = "/" };
        foreach (string argument in command[1..]) { info.ArgumentList.Add(argument); }
        return info;
    }
}
