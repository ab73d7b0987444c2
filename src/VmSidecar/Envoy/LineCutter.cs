using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>Takes one line, without its line end; the span is valid during the call only.</summary>
internal delegate void LineTaker(ReadOnlySpan<byte> line);

/// <summary>Cuts one pipe into lines. A line longer than the buffer comes in pieces. Owns the pipe.</summary>
internal sealed class LineCutter(SafeFileHandle pipe, LineTaker take) : IDisposable
{
    private readonly byte[] _buffer = new byte[64 * 1024]; // bytes: the default capacity of a pipe
    private int _held;

    /// <summary>True after the writer's end is closed; the last line has then been passed on, ended or not.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>Reads once and passes on every line that is whole.</summary>
    public void Take()
    {
        int count = Pipes.Read(pipe, _buffer.AsSpan(_held));
        if (count == 0)
        {
            HasEnded = true;
            if (_held > 0) { take(_buffer.AsSpan(0, _held)); }
            return;
        }
        _held += count;
        Cut();
    }

    public void Dispose() => pipe.Dispose();

    private void Cut()
    {
        int start = 0;
        while (_buffer.AsSpan(start, _held - start).IndexOf((byte)'\n') is >= 0 and int length)
        {
            take(_buffer.AsSpan(start, length));
            start += length + 1;
        }
        if (start == 0 && _held == _buffer.Length)
        {
            take(_buffer);
            start = _held;
        }
        _held -= start;
        _buffer.AsSpan(start, _held).CopyTo(_buffer);
    }
}
