using System.Buffers.Binary;
using System.Globalization;
using System.Net.Sockets;

namespace VmSidecar.Linux.Processes;

/// <summary>The process at the other end of a unix socket, as the kernel says (SO_PEERCRED, unix(7)), with when it began. The default is one that is not known.</summary>
/// <param name="Id">Process id; 0: not known.</param>
/// <param name="Started">Clock ticks from boot to its start (field 22 of /proc/PID/stat, proc(5)); 0: not known.</param>
internal readonly record struct PeerProcess(int Id, long Started)
{
    private const int SocketLevel = 1, PeerCredentials = 17; // SOL_SOCKET, SO_PEERCRED
    private const int StartTime = 22 - 3;                    // counted from the state, the first field after the name

    /// <summary>The process that connected this socket; unknown for any other kind of socket, or across process namespaces.</summary>
    public static PeerProcess Of(Socket socket)
    {
        Span<byte> credentials = stackalloc byte[12]; // struct ucred: pid, uid, gid
        try
        {
            if (socket.AddressFamily != AddressFamily.Unix || socket.GetRawSocketOption(SocketLevel, PeerCredentials, credentials) < sizeof(int)) { return default; }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return default; // gone already
        }
        return Of(BinaryPrimitives.ReadInt32LittleEndian(credentials));
    }

    /// <summary>The process with this id.</summary>
    public static PeerProcess Of(int id)
    {
        if (id <= 0) { return default; }
        try
        {
            string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/stat"));
            string[] fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries); // a name may hold blanks and parentheses
            return fields.Length > StartTime && long.TryParse(fields[StartTime], CultureInfo.InvariantCulture, out long started) ? new PeerProcess(id, started) : default;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return default;
        }
    }

    /// <summary>True when both are known, differ, and this one began later (or in the same tick, with the higher id).</summary>
    public bool IsNewerThan(PeerProcess other) =>
        Id != 0 && other.Id != 0 && Id != other.Id && (Started > other.Started || (Started == other.Started && Id > other.Id));
}
