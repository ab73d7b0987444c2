using System.Net.Sockets;

namespace VmSidecar.TestKit.Istiod.Faults;

/// <summary>One TCP connection through the front door: two pumps that end together. Owned by <see cref="FrontDoor"/>.</summary>
internal sealed class FrontConnection(Socket client, Socket server, FrontDoor door, TimeProvider time) : IDisposable
{
    private readonly CancellationTokenSource _ending = new();
    private readonly TaskCompletionSource _stalled = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _left = long.MaxValue;
    private volatile bool _reset;

    public async Task RunAsync(CancellationToken closing)
    {
        client.NoDelay = server.NoDelay = true;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(closing, _ending.Token);
        Task up = PumpAsync(client, server, towardsClient: false, stop.Token);
        Task down = PumpAsync(server, client, towardsClient: true, stop.Token);
        await Task.WhenAny(up, down);
        if (!_reset) { await Task.WhenAny(Task.WhenAll(up, down), Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, stop.Token)); } // the other half may still have its goodbye to say
        await stop.CancelAsync();
        await Task.WhenAll(up, down);
        if (_reset || closing.IsCancellationRequested) { client.LingerState = server.LingerState = new LingerOption(true, 0); } // close sends RST
    }

    public void Reset()
    {
        _reset = true;
        CancelQuietly();
    }

    public void Stall() => _stalled.TrySetResult();

    /// <summary>Bytes that are no TLS record reach the client.</summary>
    public void Garble()
    {
        try { client.Send([.. Enumerable.Repeat((byte)0xA5, 64)]); }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { } // it has gone
    }

    /// <summary>FIN towards the client, whatever was under way.</summary>
    public void Close()
    {
        try { client.Shutdown(SocketShutdown.Send); }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { } // it has gone
    }

    public void CutAfter(int bytes)
    {
        Interlocked.Exchange(ref _left, bytes);
        if (bytes == 0) { Reset(); }
    }

    public void Dispose()
    {
        client.Dispose();
        server.Dispose();
        _ending.Dispose();
    }

    private async Task PumpAsync(Socket from, Socket to, bool towardsClient, CancellationToken stop)
    {
        byte[] buffer = new byte[64 * 1024];
        try
        {
            while (true)
            {
                int room = towardsClient ? Math.Clamp(door.Piece, 1, buffer.Length) : buffer.Length;
                int length = await from.ReceiveAsync(buffer.AsMemory(0, room), SocketFlags.None, stop);
                if (_stalled.Task.IsCompleted) { await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop); }
                if (length == 0)
                {
                    to.Shutdown(SocketShutdown.Send);
                    return;
                }
                if (towardsClient && door.Delay > TimeSpan.Zero) { await Task.Delay(door.Delay, time, stop); }
                int allowed = towardsClient ? (int)Math.Min(length, Interlocked.Read(ref _left)) : length;
                int passed = towardsClient && door.Gate is { } gate ? await PassAsync(gate, to, buffer.AsMemory(0, allowed), stop) : 0;
                await SendAsync(to, buffer.AsMemory(passed, allowed - passed), stop);
                if (towardsClient && Interlocked.Add(ref _left, -allowed) <= 0)
                {
                    Reset();
                    return;
                }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException) { } // this side is gone; the other follows
    }

    /// <summary>Sends what the gate lets through and waits until it opens; returns how much was sent.</summary>
    private static async Task<int> PassAsync(DoorGate gate, Socket to, ReadOnlyMemory<byte> bytes, CancellationToken stop)
    {
        int free = gate.Take(bytes.Length);
        if (free == bytes.Length) { return 0; }
        await SendAsync(to, bytes[..free], stop);
        await gate.Released.WaitAsync(stop);
        return free;
    }

    private static async Task SendAsync(Socket to, ReadOnlyMemory<byte> bytes, CancellationToken stop)
    {
        while (!bytes.IsEmpty)
        {
            int sent = await to.SendAsync(bytes, SocketFlags.None, stop);
            bytes = bytes[sent..];
        }
    }

    private void CancelQuietly()
    {
        try { _ending.Cancel(); }
        catch (ObjectDisposedException) { } // ended by itself
    }
}
