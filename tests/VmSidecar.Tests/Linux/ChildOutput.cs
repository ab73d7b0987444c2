using System.Text;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Tests.Linux;

/// <summary>Runs a short command and takes what it prints. Bounded in time and size.</summary>
internal static class ChildOutput
{
    private const int MaxBytes = 64 * 1024; // what a version or a rule list needs; the rest is read and dropped

    /// <summary>How it ended and what it wrote to stdout and stderr together; null when it was killed at the timeout. Throws <see cref="ChildStartException"/>.</summary>
    public static async Task<(ChildExit Exit, string Text)?> CaptureAsync(ChildCommand command, TimeSpan timeout, TimeProvider time, CancellationToken stop)
    {
        ChildProcess child = await ChildProcess.StartAsync(command);
        var text = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() => text.SetResult(Read(child)), maxStackSize: 256 * 1024) { IsBackground = true, Name = "child-output" }.Start();
        bool inTime = await Task.WhenAny(text.Task, Task.Delay(timeout, time, stop)) == text.Task;
        if (!inTime) { child.TrySignal(SignalNumber.Kill, group: true); }
        ChildExit exit = await child.Exited;
        stop.ThrowIfCancellationRequested();
        return inTime ? (exit, await text.Task) : null;
    }

    private static string Read(ChildProcess child)
    {
        var bytes = new MemoryStream();
        byte[] buffer = new byte[4096];
        using (child.Output)
        using (child.Error)
        {
            bool outputEnded = false, errorEnded = false;
            while (!outputEnded || !errorEnded)
            {
                Pipes.Wait(outputEnded ? null : child.Output, errorEnded ? null : child.Error, null, out bool outputReady, out bool errorReady);
                if (outputReady) { outputEnded = !Take(child.Output!, buffer, bytes); }
                if (errorReady) { errorEnded = !Take(child.Error!, buffer, bytes); }
            }
        }
        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    private static bool Take(Microsoft.Win32.SafeHandles.SafeFileHandle pipe, byte[] buffer, MemoryStream bytes)
    {
        int count = Pipes.Read(pipe, buffer);
        bytes.Write(buffer, 0, (int)Math.Min(count, MaxBytes - bytes.Length));
        return count > 0;
    }
}
