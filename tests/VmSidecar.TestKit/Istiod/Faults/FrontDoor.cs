using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.TestKit.Istiod.Faults;

/// <summary>
/// The TCP address peers know, in front of the gRPC server: it stays the same over restarts and plays the faults below TLS:
/// refuse, accept and say nothing, stall, slow down, cut after so many bytes, reset. Owned by FakeIstiod.
/// </summary>
internal sealed class FrontDoor(IPEndPoint listen, TimeProvider time) : IAsyncDisposable
{
    private readonly CancellationTokenSource _closing = new();
    private readonly ConcurrentDictionary<int, FrontConnection> _connections = new(); // by the port the gRPC server sees
    private readonly ConcurrentBag<Socket> _held = [];
    private readonly ConcurrentBag<Task> _running = [];
    private IPEndPoint _inner = listen;
    private Socket? _listener;
    private Socket? _kept; // bound, not listening: connections are refused, and nobody else is given the port meanwhile
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The address really bound; the same after every re-opening.</summary>
    public IPEndPoint Address { get; private set; } = listen;

    /// <summary>Ends with the next TCP connection.</summary>
    public Task NextConnection => _next.Task;

    /// <summary>TCP connections accepted so far.</summary>
    public int Accepted { get; private set; }

    /// <summary>Connections open now.</summary>
    public int Open => _connections.Count;

    /// <summary>New connections are accepted and then hear nothing, as from a dead host behind a live one.</summary>
    public bool Silent { get; set; }

    /// <summary>Each read towards the client waits this long; zero: at full speed.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>Largest piece handed on towards the client at once, bytes.</summary>
    public int Piece { get; set; } = 64 * 1024;

    /// <summary>Starts, or starts again, to listen, and leads to <paramref name="inner"/>.</summary>
    public void Listen(IPEndPoint inner)
    {
        _inner = inner;
        if (_listener is not null) { return; }
        _kept ??= Bound(Address);
        Address = (IPEndPoint)_kept.LocalEndPoint!;
        Socket listener = Bound(Address);
        listener.Listen(1024);
        _listener = listener;
        _running.Add(AcceptAsync(listener));
    }

    /// <summary>New connections are refused; open ones stay.</summary>
    public void Refuse()
    {
        _listener?.Dispose();
        _listener = null;
    }

    /// <summary>New connections are accepted again, after <see cref="Refuse"/>.</summary>
    public void Reopen() => Listen(_inner);

    /// <summary>Every open connection gets a RST.</summary>
    public void ResetAll()
    {
        foreach (FrontConnection connection in _connections.Values) { connection.Reset(); }
        while (_held.TryTake(out Socket? held)) { held.Dispose(); }
    }

    /// <summary>Open connections carry nothing any more, both ways, but stay: a half-open link.</summary>
    public void StallAll()
    {
        foreach (FrontConnection connection in _connections.Values) { connection.Stall(); }
    }

    /// <summary>Holds back what goes towards clients after so many more bytes, until the gate is released.</summary>
    public DoorGate Hold(long after) => Gate = new DoorGate(after);

    /// <summary>The latest gate.</summary>
    internal DoorGate? Gate { get; private set; }

    /// <summary>Bytes that are no TLS record reach every client.</summary>
    public void GarbleAll()
    {
        foreach (FrontConnection connection in _connections.Values) { connection.Garble(); }
    }

    /// <summary>Every open connection ends towards its client without a word.</summary>
    public void CloseAll()
    {
        foreach (FrontConnection connection in _connections.Values) { connection.Close(); }
    }

    /// <summary>Resets the connection the gRPC server knows by this port, after so many more bytes towards the client.</summary>
    public void Cut(int serverSidePort, int afterBytes)
    {
        if (_connections.TryGetValue(serverSidePort, out FrontConnection? connection)) { connection.CutAfter(afterBytes); }
    }

    public async ValueTask DisposeAsync()
    {
        Refuse();
        await _closing.CancelAsync();
        ResetAll();
        await Task.WhenAll(_running);
        _kept?.Dispose();
        _closing.Dispose();
    }

    private static Socket Bound(IPEndPoint address)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        socket.Bind(address);
        return socket;
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (true)
        {
            Socket client;
            try { client = await listener.AcceptAsync(_closing.Token); }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException) { return; }
            Accepted++;
            if (!Silent) { _running.Add(ServeAsync(client)); continue; }
            _held.Add(client);
            Announce();
        }
    }

    // Only now can it be reset or stalled.
    private void Announce() => Interlocked.Exchange(ref _next, new(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();

    private async Task ServeAsync(Socket client)
    {
        var server = new Socket(_inner.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        using var connection = new FrontConnection(client, server, this, time);
        try { await server.ConnectAsync(_inner, _closing.Token); }
        catch (Exception e) when (e is SocketException or OperationCanceledException) { return; }
        int port = ((IPEndPoint)server.LocalEndPoint!).Port;
        _connections[port] = connection;
        Announce();
        try { await connection.RunAsync(_closing.Token); }
        finally { _connections.TryRemove(port, out _); }
    }
}
