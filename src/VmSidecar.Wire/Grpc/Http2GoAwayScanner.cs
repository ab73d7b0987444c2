using System.Buffers.Binary;

namespace VmSidecar.Wire.Grpc;

/// <summary>
/// Watches the bytes an HTTP/2 peer sends for a GOAWAY frame (RFC 9113 §6.8) and for RST_STREAM (§6.4), and keeps their error codes. HttpClient does not tell
/// a planned goodbye from a lost connection, nor a stream the peer reset from a connection it gave up itself (no sign of life, broken frames), and hides the
/// code of a reset that meets the opening of a call; the relay answers them differently. Fed by one reader, read by any thread.
/// </summary>
internal sealed class Http2GoAwayScanner
{
    private const int HeaderLength = 9;
    private const byte ResetType = 3;
    private const byte GoAwayType = 7;
    private const int GoAwayFixed = 8; // last stream id, error code
    private const int ResetFixed = 4;  // error code

    private readonly TaskCompletionSource _leaving = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly byte[] _pending = new byte[HeaderLength + GoAwayFixed];
    private int _pendingLength;
    private long _skip;
    private int _code = -1;
    private long _reset = -1;

    /// <summary>The error code of the last RST_STREAM of any stream, -1 when the peer has reset none.</summary>
    public long Reset => Interlocked.Read(ref _reset);

    /// <summary>The error code of the last GOAWAY, -1 when none came. 0 is NO_ERROR: the peer leaves in order.</summary>
    public int Code => Volatile.Read(ref _code);

    /// <summary>Ends when the peer says that it leaves in order (GOAWAY NO_ERROR); never when it does not.</summary>
    public Task Leaving => _leaving.Task;

    /// <summary>Takes the next bytes as they came from the wire, in any pieces.</summary>
    public void Feed(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (_skip > 0)
            {
                int skipped = (int)Math.Min(_skip, bytes.Length);
                _skip -= skipped;
                bytes = bytes[skipped..];
                continue;
            }
            int wanted = Wanted() - _pendingLength;
            int taken = Math.Min(wanted, bytes.Length);
            bytes[..taken].CopyTo(_pending.AsSpan(_pendingLength));
            _pendingLength += taken;
            bytes = bytes[taken..];
            if (_pendingLength == Wanted()) { EndOfPiece(); }
        }
    }

    private int Wanted() => HeaderLength + (_pendingLength < HeaderLength ? 0 : _pending[3] switch { GoAwayType => GoAwayFixed, ResetType => ResetFixed, _ => 0 });

    private void EndOfPiece()
    {
        int length = (_pending[0] << 16) | (_pending[1] << 8) | _pending[2];
        if (_pendingLength == HeaderLength + GoAwayFixed)
        {
            uint code = BinaryPrimitives.ReadUInt32BigEndian(_pending.AsSpan(HeaderLength + 4));
            Volatile.Write(ref _code, (int)Math.Min(code, int.MaxValue));
            if (code == 0) { _leaving.TrySetResult(); }
            length -= GoAwayFixed;
        }
        else if (_pendingLength == HeaderLength + ResetFixed)
        {
            Interlocked.Exchange(ref _reset, BinaryPrimitives.ReadUInt32BigEndian(_pending.AsSpan(HeaderLength)));
            length -= ResetFixed;
        }
        _skip = Math.Max(length, 0);
        _pendingLength = 0;
    }
}
