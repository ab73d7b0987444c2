using System.Net.Sockets;

namespace VmSidecar.Linux.Sockets;

/// <summary>What HttpClient throws where the other end fails.</summary>
internal static class PeerFailure
{
    /// <summary>
    /// True for a fault of the other end or of the way to it. Mostly that is an <see cref="HttpRequestException"/>, while a body is read an <see cref="IOException"/>; the bare
    /// <see cref="SocketException"/> (ENOTCONN) comes where a connection is reset before HttpClient has asked the kernel who is at its other end (getpeername(2)).
    /// </summary>
    public static bool Is(Exception e) => e is HttpRequestException or IOException or SocketException;
}
