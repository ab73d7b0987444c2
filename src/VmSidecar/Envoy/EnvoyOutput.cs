using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>The beginnings of two lines whose ends have not been read yet.</summary>
/// <param name="Output">Of stdout.</param>
/// <param name="Error">Of stderr.</param>
internal readonly record struct HalfLines(byte[]? Output, byte[]? Error);

/// <summary>
/// Reads both pipes of one Envoy on a thread of its own and cuts lines, until they end, or until they are handed on to another agent. Owns the pipes. Made by EnvoyLogPump.
/// </summary>
internal sealed class EnvoyOutput
{
    private readonly SafeFileHandle _output, _error, _wakeRead, _wakeWrite;
    private readonly LineTaker _take;
    private readonly LastWords _words;
    private readonly TaskCompletionSource<HalfLines> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Begins to read.</summary>
    public EnvoyOutput(ChildProcess child, LineTaker take, LastWords words, HalfLines before)
    {
        (_output, _error, _take, _words) = (child.Output!, child.Error!, take, words);
        (_wakeRead, _wakeWrite) = Pipes.Create();
        new Thread(() => _ended.SetResult(Read(before)), maxStackSize: 256 * 1024) { IsBackground = true, Name = "envoy-log" }.Start();
    }

    /// <summary>Ends when both pipes have ended and the last line is passed on, or when they were handed on.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Further descriptors of both pipes, for <see cref="PartAsync"/> to leave to another agent; null when they have ended or none are to be had.</summary>
    public (SafeFileHandle Output, SafeFileHandle Error)? Duplicate()
    {
        SafeFileHandle? output = Descriptor.Duplicate(_output), error = Descriptor.Duplicate(_error);
        if (output is not null && error is not null) { return (output, error); }
        output?.Dispose();
        error?.Dispose();
        return null;
    }

    /// <summary>Reads no more. Returns what was read of lines without an end.</summary>
    public async Task<HalfLines> PartAsync()
    {
        _wakeWrite.Dispose();
        return await _ended.Task;
    }

    private HalfLines Read(HalfLines before)
    {
        using SafeFileHandle wake = _wakeRead;
        using var fromOutput = new LineCutter(_output, _take, before.Output);
        using var fromError = new LineCutter(_error, line =>
        {
            _words.Add(line);
            _take(line);
        }, before.Error);
        while (!fromOutput.HasEnded || !fromError.HasEnded)
        {
            if (!Pipes.Wait(fromOutput.HasEnded ? null : _output, fromError.HasEnded ? null : _error, wake, out bool outputReady, out bool errorReady)) { break; }
            if (outputReady) { fromOutput.Take(); }
            if (errorReady) { fromError.Take(); }
        }
        _wakeWrite.Dispose();
        return new HalfLines(fromOutput.Held, fromError.Held);
    }
}
