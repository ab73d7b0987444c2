using System.Net.Sockets;

namespace VmSidecar.Linux.Sockets;

/// <summary>How much may wait in the kernel for the reader of a socket (SO_SNDBUF, socket(7)).</summary>
internal static class SendBuffer
{
    private const int Level = 1, Forced = 32; // SOL_SOCKET, SO_SNDBUFFORCE: past net.core.wmem_max, with CAP_NET_ADMIN

    /// <summary>Makes room for so many bytes; without CAP_NET_ADMIN for as many as the kernel gives to everybody.</summary>
    public static void Widen(Socket socket, int bytes)
    {
        try { socket.SetRawSocketOption(Level, Forced, BitConverter.GetBytes(bytes)); }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AccessDenied) { socket.SendBufferSize = bytes; }
    }
}
