using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Sockets;

/// <summary>
/// Collects answers for one socket and sends them in one system call (sendmmsg). One thread at a time. What the kernel does not take at once is lost, as
/// UDP may lose any datagram: a server must not wait for a client.
/// </summary>
internal sealed unsafe class DatagramSender : IDisposable
{
    private const int MaxDatagram = 65507;    // the longest UDP payload over IPv4
    private const int Arena = 2 * MaxDatagram;

    private readonly SafeHandle _socket;
    private readonly int _slots;
    private readonly SocketCalls.Message* _messages;
    private readonly SocketCalls.Piece* _pieces;
    private readonly DatagramPeer* _peers;
    private readonly byte* _bytes;
    private int _count;
    private int _used;

    public DatagramSender(SafeHandle socket, int slots)
    {
        _socket = socket;
        _slots = slots;
        _messages = (SocketCalls.Message*)NativeMemory.AllocZeroed((nuint)slots, (nuint)sizeof(SocketCalls.Message));
        _pieces = (SocketCalls.Piece*)NativeMemory.AllocZeroed((nuint)slots, (nuint)sizeof(SocketCalls.Piece));
        _peers = (DatagramPeer*)NativeMemory.AllocZeroed((nuint)slots, (nuint)sizeof(DatagramPeer));
        _bytes = (byte*)NativeMemory.AllocZeroed(Arena);
    }

    /// <summary>Where the next answer is to be written: always room for the longest. Valid until the next call.</summary>
    public Span<byte> Room()
    {
        if (_count == _slots || Arena - _used < MaxDatagram) { Flush(); }
        return new(_bytes + _used, MaxDatagram);
    }

    /// <summary>Takes what was written into <see cref="Room"/>.</summary>
    public void Add(in DatagramPeer peer, int length)
    {
        DatagramPeer* kept = _peers + _count;
        *kept = peer;
        _pieces[_count] = new() { Start = _bytes + _used, Length = (nuint)length };
        ref SocketCalls.Message message = ref _messages[_count];
        message = default;
        message.Name = (byte*)&kept->Address;
        message.NameLength = (uint)peer.AddressLength;
        message.Pieces = _pieces + _count;
        message.PieceCount = 1;
        if (peer.ControlLength > 0)
        {
            message.Control = (byte*)&kept->Control;
            message.ControlLength = (nuint)peer.ControlLength;
        }
        _count++;
        _used += (length + 63) & ~63; // whole cache lines
    }

    /// <summary>Sends what was collected.</summary>
    public void Flush()
    {
        if (_count == 0) { return; }
        bool held = false;
        try
        {
            _socket.DangerousAddRef(ref held);
            for (int at = 0; at < _count;)
            {
                int sent = SocketCalls.Send((int)_socket.DangerousGetHandle(), _messages + at, (uint)(_count - at), SocketCalls.DontWait | SocketCalls.NoSignal);
                if (sent < 0 && Marshal.GetLastPInvokeError() == SocketCalls.Interrupted) { continue; }
                at += Math.Max(sent, 1); // the first one failed: its client is gone, or the buffer is full; the others get their chance
            }
        }
        catch (ObjectDisposedException) { } // closed meanwhile: nobody is there to answer
        finally
        {
            if (held) { _socket.DangerousRelease(); }
            _count = _used = 0;
        }
    }

    public void Dispose()
    {
        NativeMemory.Free(_messages);
        NativeMemory.Free(_pieces);
        NativeMemory.Free(_peers);
        NativeMemory.Free(_bytes);
    }
}
