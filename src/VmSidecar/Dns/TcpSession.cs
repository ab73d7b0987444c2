using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Dns;

/// <summary>
/// One client connection (RFC 7766): messages with a two-byte length. Queries may be pipelined; forwarded ones are answered as they come, so a
/// slow one holds up nobody. Every wait has a deadline: a client that stalls loses its connection. Owned by <see cref="TcpAcceptor"/>.
/// </summary>
internal sealed class TcpSession(Socket socket, QueryHandler handler, TimeProvider time) : IDisposable
{
    private const int MaxOpen = 16; // forwarded queries at a time on one connection; the next is read when one is done
    private static readonly TimeSpan FirstRead = TimeSpan.FromSeconds(2); // the peers' values
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan WriteTime = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _open = new(MaxOpen);
    private readonly SemaphoreSlim _writing = new(1);
    private readonly CancellationTokenSource _broken = new(); // a write failed: reading on makes no sense
    private byte[] _query = new byte[512];

    /// <summary>Serves until the client leaves, stalls or <paramref name="stop"/>. Never throws.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var deadline = new CancellationTokenSource(FirstRead, time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token, _broken.Token);
        try
        {
            socket.NoDelay = true;
            byte[] prefix = new byte[2];
            while (await TryFillAsync(prefix, end.Token))
            {
                int length = BinaryPrimitives.ReadUInt16BigEndian(prefix);
                if (_query.Length < length) { _query = new byte[length]; }
                if (!await TryFillAsync(_query.AsMemory(0, length), end.Token)) { break; }
                deadline.CancelAfter(Idle);
                if (!await TryHandleAsync(length, end.Token)) { break; }
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException) { } // the client left, stalled, or we stop
        for (int i = 0; i < MaxOpen; i++) { await _open.WaitAsync(CancellationToken.None); } // each forwarded query ends within its own timeout
    }

    public void Dispose()
    {
        socket.Dispose();
        _broken.Dispose();
        _open.Dispose();
        _writing.Dispose();
    }

    private async Task<bool> TryHandleAsync(int length, CancellationToken end)
    {
        byte[] reply = ArrayPool<byte>.Shared.Rent(ushort.MaxValue + 2);
        PendingQuery pending;
        try
        {
            if (handler.TryAnswer(_query.AsSpan(0, length), tcp: true, reply.AsSpan(2), out int written, out pending))
            {
                return written > 0 && await TryWriteAsync(reply, written); // a message that gets silence ends the connection
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(reply);
        }
        await _open.WaitAsync(end);
        _ = ForwardAsync(_query[..pending.Query.Length], pending); // awaited through _open
        return true;
    }

    private async Task ForwardAsync(byte[] packet, PendingQuery pending)
    {
        try
        {
            ForwardResult result = await handler.ForwardAsync(packet, pending, ((IPEndPoint?)socket.RemoteEndPoint)?.Port ?? 0);
            byte[] reply = ArrayPool<byte>.Shared.Rent(ushort.MaxValue + 2);
            try
            {
                int length = handler.Fit(packet, pending, result, reply.AsSpan(2, ushort.MaxValue));
                if (length > 0) { await TryWriteAsync(reply, length); }
            }
            finally { ArrayPool<byte>.Shared.Return(reply); }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { } // the client left
        finally
        {
            _open.Release();
        }
    }

    /// <summary>Writes one whole message with its prefix; a client that does not take it in time loses the connection.</summary>
    private async Task<bool> TryWriteAsync(byte[] framed, int length)
    {
        BinaryPrimitives.WriteUInt16BigEndian(framed, (ushort)length);
        using var deadline = new CancellationTokenSource(WriteTime, time);
        await _writing.WaitAsync(CancellationToken.None); // held for one bounded write
        try
        {
            if (_broken.IsCancellationRequested) { return false; }
            for (ReadOnlyMemory<byte> rest = framed.AsMemory(0, length + 2); rest.Length > 0;)
            {
                rest = rest[await socket.SendAsync(rest, SocketFlags.None, deadline.Token)..];
            }
            return true;
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            await _broken.CancelAsync();
            return false;
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task<bool> TryFillAsync(Memory<byte> buffer, CancellationToken end)
    {
        while (buffer.Length > 0)
        {
            int read = await socket.ReceiveAsync(buffer, SocketFlags.None, end);
            if (read == 0) { return false; }
            buffer = buffer[read..];
        }
        return true;
    }
}
