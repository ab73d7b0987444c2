using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;

namespace VmSidecar.Linux.Sockets;

/// <summary>
/// Binds a unix socket (unix(7)) whose path outlives the Socket object: the one .NET binds itself removes the path when it is closed, also where another program goes on
/// with the same socket.
/// </summary>
internal static unsafe partial class UnixListener
{
    private const int Family = 1, Stream = 1; // AF_UNIX, SOCK_STREAM
    private const int PathAt = 2, MaxPath = 107;

    /// <summary>A bound socket, not yet listening. Throws <see cref="SocketException"/>.</summary>
    public static Socket Bind(string path)
    {
        byte[] name = Encoding.UTF8.GetBytes(path);
        if (name.Length > MaxPath) { throw new SocketException((int)SocketError.InvalidArgument, $"the path {path} is longer than {MaxPath} bytes"); }
        byte[] address = new byte[PathAt + name.Length + 1];
        BitConverter.TryWriteBytes(address, (ushort)Family);
        name.CopyTo(address, PathAt);
        int number = Open(Family, Stream | SocketCalls.CloseOnExec, 0);
        if (number < 0) { throw Refused(); }
        fixed (byte* bytes = address)
        {
            if (Bind(number, bytes, (uint)address.Length) == 0) { return new Socket(new SafeSocketHandle(number, ownsHandle: true)); }
        }
        SocketException refused = Refused();
        _ = SocketCalls.Close(number);
        throw refused;
    }

    private static SocketException Refused()
    {
        int error = Marshal.GetLastPInvokeError();
        string words = Marshal.GetPInvokeErrorMessage(error);
        return error switch
        {
            98 => new SocketException((int)SocketError.AddressAlreadyInUse, words),   // EADDRINUSE
            13 or 1 => new SocketException((int)SocketError.AccessDenied, words),     // EACCES, EPERM
            _ => new SocketException((int)SocketError.SocketError, words),
        };
    }

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int Open(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static partial int Bind(int socket, byte* address, uint length);
}
