using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Sockets;

/// <summary>Receives up to a batch of datagrams in one system call (recvmmsg) into its own memory. One thread at a time; what it returns is valid until the next call.</summary>
internal sealed unsafe class DatagramReceiver : IDisposable
{
    private readonly int _slots;
    private readonly int _size;
    private readonly SocketCalls.Message* _messages;
    private readonly SocketCalls.Piece* _pieces;
    private readonly byte* _bytes;
    private readonly byte* _names;
    private readonly byte* _controls;

    /// <param name="slots">Datagrams a call takes at most.</param>
    /// <param name="size">Bytes kept of one datagram; the rest of a longer one is lost, as with any receive. Pages never written to cost no memory.</param>
    public DatagramReceiver(int slots, int size)
    {
        _slots = slots;
        _size = size;
        _messages = (SocketCalls.Message*)NativeMemory.AllocZeroed((nuint)slots, (nuint)sizeof(SocketCalls.Message));
        _pieces = (SocketCalls.Piece*)NativeMemory.AllocZeroed((nuint)slots, (nuint)sizeof(SocketCalls.Piece));
        _bytes = (byte*)NativeMemory.AllocZeroed((nuint)slots, (nuint)size);
        _names = (byte*)NativeMemory.AllocZeroed((nuint)slots, DatagramPeer.MaxAddress);
        _controls = (byte*)NativeMemory.AllocZeroed((nuint)slots, DatagramPeer.MaxControl);
        for (int i = 0; i < slots; i++)
        {
            _pieces[i] = new() { Start = _bytes + (nint)i * size, Length = (nuint)size };
            _messages[i].Name = _names + i * DatagramPeer.MaxAddress;
            _messages[i].Pieces = &_pieces[i];
            _messages[i].PieceCount = 1;
            _messages[i].Control = _controls + i * DatagramPeer.MaxControl;
        }
    }

    /// <summary>How many were waiting, at most a batch, without blocking; 0: none; -1: the socket reports <paramref name="error"/> (errno) instead, or is closed.</summary>
    public int Receive(SafeHandle socket, out int error)
    {
        for (int i = 0; i < _slots && (i == 0 || _messages[i].NameLength != DatagramPeer.MaxAddress || _messages[i].ControlLength != DatagramPeer.MaxControl); i++)
        {
            // the last call wrote what it used; slots behind those are as they were
            _messages[i].NameLength = DatagramPeer.MaxAddress;
            _messages[i].ControlLength = DatagramPeer.MaxControl;
        }
        bool held = false;
        error = 0;
        try
        {
            socket.DangerousAddRef(ref held);
            int count = SocketCalls.Receive((int)socket.DangerousGetHandle(), _messages, (uint)_slots, SocketCalls.DontWait, null);
            if (count >= 0) { return count; }
            error = Marshal.GetLastPInvokeError();
            return error is SocketCalls.Again or SocketCalls.Interrupted ? 0 : -1;
        }
        catch (ObjectDisposedException)
        {
            return -1;
        }
        finally
        {
            if (held) { socket.DangerousRelease(); }
        }
    }

    /// <summary>The bytes of one datagram.</summary>
    public ReadOnlySpan<byte> Datagram(int index) => new(_bytes + (nint)index * _size, (int)Math.Min(_messages[index].Length, (uint)_size));

    /// <summary>Who sent it, and from which of our addresses the answer is to leave.</summary>
    public void Peer(int index, out DatagramPeer peer)
    {
        ref readonly SocketCalls.Message message = ref _messages[index];
        peer = default;
        peer.AddressLength = (int)Math.Min(message.NameLength, DatagramPeer.MaxAddress);
        peer.ControlLength = (int)Math.Min(message.ControlLength, DatagramPeer.MaxControl);
        new ReadOnlySpan<byte>(message.Name, peer.AddressLength).CopyTo(peer.Address);
        new ReadOnlySpan<byte>(message.Control, peer.ControlLength).CopyTo(peer.Control);
        peer.FreeRoute();
    }

    public void Dispose()
    {
        NativeMemory.Free(_messages);
        NativeMemory.Free(_pieces);
        NativeMemory.Free(_bytes);
        NativeMemory.Free(_names);
        NativeMemory.Free(_controls);
    }
}
