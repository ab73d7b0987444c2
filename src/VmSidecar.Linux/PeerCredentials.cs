using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace VmSidecar.Linux;

/// <summary>Who is at the other end of a unix socket, as the kernel says (unix(7), SO_PEERCRED): for a client the process that listens, for a server the one that connected.</summary>
/// <param name="ProcessId">0 where the process is in another pid namespace.</param>
/// <param name="UserId">Effective uid when the connection was made, or the socket was listened on.</param>
internal readonly partial record struct PeerCredentials(int ProcessId, uint UserId)
{
    private const int SocketLevel = 1, PeerOption = 17; // SOL_SOCKET, SO_PEERCRED

    /// <summary>This process's effective uid.</summary>
    public static uint OwnUserId => EffectiveUser();

    /// <summary>Null where the kernel does not say: not a connected unix socket.</summary>
    public static PeerCredentials? Of(Socket socket)
    {
        Span<int> pidUidGid = stackalloc int[3]; // struct ucred
        try
        {
            int length = socket.GetRawSocketOption(SocketLevel, PeerOption, MemoryMarshal.AsBytes(pidUidGid));
            return length == 3 * sizeof(int) ? new PeerCredentials(pidUidGid[0], (uint)pidUidGid[1]) : null;
        }
        catch (SocketException) { return null; }
    }

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUser();
}
