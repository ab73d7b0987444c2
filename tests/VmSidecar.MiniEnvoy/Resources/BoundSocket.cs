using System.Net;
using System.Net.Sockets;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>A listening socket and the listener that owns it now. Bound at once, accepting only when told; every connection is a tracked task.</summary>
internal sealed class BoundSocket : IAsyncDisposable
{
    private readonly Socket _socket;
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<ListenerEntry, Socket, CancellationToken, Task> _handle;
    private volatile ListenerEntry _listener;
    private Task? _accepting;

    public BoundSocket(ListenerEntry listener, Func<ListenerEntry, Socket, CancellationToken, Task> handle)
    {
        _listener = listener;
        _handle = handle;
        _socket = new Socket(listener.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (listener.Address.AddressFamily == AddressFamily.InterNetworkV6) { _socket.DualMode = false; }
            _socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            _socket.Bind(listener.Address);
        }
        catch (SocketException e)
        {
            _socket.Dispose();
            throw new RejectedException($"cannot bind '{listener.Address}': {(e.SocketErrorCode == SocketError.AddressAlreadyInUse ? "Address already in use" : e.Message)}");
        }
    }

    public ListenerEntry Listener { get => _listener; set => _listener = value; }

    /// <summary>The port really bound.</summary>
    public IPEndPoint Bound => (IPEndPoint)_socket.LocalEndPoint!;

    public void Start()
    {
        if (_accepting is not null) { return; }
        _socket.Listen(1024);
        _accepting = AcceptAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _socket.Dispose();
        if (_accepting is not null) { await _accepting; }
        _stop.Dispose();
    }

    /// <summary>No more connections; those there go on until they end.</summary>
    public void StopAccepting() => _socket.Dispose();

    private async Task AcceptAsync()
    {
        var open = new HashSet<Task>(); // only this loop touches it
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                Socket socket = await _socket.AcceptAsync(_stop.Token);
                open.RemoveWhere(t => t.IsCompleted);
                open.Add(_handle(_listener, socket, _stop.Token));
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException) { break; }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.OperationAborted) { break; }
            catch (SocketException) { } // this one connection was gone before it was taken
        }
        await Task.WhenAll(open);
    }
}
