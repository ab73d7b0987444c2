using System.Net.Security;
using System.Net.Sockets;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>One side of a proxied connection: the stream (plain or TLS) and the socket below. Dispose closes both.</summary>
internal sealed class Duplex(Stream stream, Socket socket) : IAsyncDisposable
{
    public Stream Stream => stream;

    public Socket Socket => socket;

    /// <summary>Half-closes: close_notify where there is TLS, then FIN.</summary>
    public async Task EndAsync()
    {
        if (stream is SslStream tls) { await tls.ShutdownAsync(); }
        socket.Shutdown(SocketShutdown.Send);
    }

    /// <summary>Ends a broken connection with a reset.</summary>
    public void Reset() => socket.Close(0);

    public async ValueTask DisposeAsync()
    {
        try { await stream.DisposeAsync(); }
        catch (IOException) { } // TLS says goodbye to a peer that has gone
        socket.Dispose();
    }
}
