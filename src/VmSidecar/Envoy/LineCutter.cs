using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>Takes one line, without its line end; the span is valid during the call only.</summary>
internal delegate void LineTaker(ReadOnlySpan<byte> line);

/// <summary>Cuts one pipe into lines. A line longer than the buffer comes in pieces. Owns the pipe.</summary>
internal sealed class LineCutter : IDisposable
{
    private readonly SafeFileHandle _pipe;
    private readonly LineTaker _take;
    private readonly byte[] _buffer = new byte[64 * 1024]; // bytes: the default capacity of a pipe
    private int _held;

    /// <param name="pipe">Read end.</param>
    /// <param name="take">Gets the lines.</param>
    /// <param name="before">The beginning of the first line, read by somebody else; no longer than the buffer.</param>
    public LineCutter(SafeFileHandle pipe, LineTaker take, byte[]? before = null)
    {
        (_pipe, _take) = (pipe, take);
        _held = Math.Min(before?.Length ?? 0, _buffer.Length);
        before?.AsSpan(0, _held).CopyTo(_buffer);
    }

    /// <summary>A copy of what was read of a line that has not ended.</summary>
    public byte[] Held => HasEnded ? [] : _buffer[.._held];

    /// <summary>True after the writer's end is closed; the last line has then been passed on, ended or not.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>Reads once and passes on every line that is whole.</summary>
    public void Take()
    {
        int count = Pipes.Read(_pipe, _buffer.AsSpan(_held));
        if (count == 0)
        {
            HasEnded = true;
            if (_held > 0) { _take(_buffer.AsSpan(0, _held)); }
            return;
        }
        _held += count;
        Cut();
    }

    public void Dispose() => _pipe.Dispose();

    private void Cut()
    {
        int start = 0;
        while (_buffer.AsSpan(start, _held - start).IndexOf((byte)'\n') is >= 0 and int length)
        {
            _take(_buffer.AsSpan(start, length));
            start += length + 1;
        }
        if (start == 0 && _held == _buffer.Length)
        {
            _take(_buffer);
            start = _held;
        }
        _held -= start;
        _buffer.AsSpan(start, _held).CopyTo(_buffer);
    }
}
