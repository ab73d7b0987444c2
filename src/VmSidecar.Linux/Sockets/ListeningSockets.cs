using System.Net;
using System.Net.Sockets;

using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Linux.Sockets;

/// <summary>
/// The sockets this process takes queries and connections on, by name, so that a program that replaces this one in place can go on with them: what arrives in between
/// waits in the kernel. Some of them were left by the program before. Thread-safe. Owned by SidecarApp.
/// </summary>
internal sealed class ListeningSockets(IReadOnlyDictionary<string, int>? inherited = null) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Socket> _open = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _inherited = new(inherited ?? new Dictionary<string, int>(), StringComparer.Ordinal);

    /// <summary>The name of a socket on an address.</summary>
    public static string Named(string use, EndPoint address) => $"{use} {address}";

    /// <summary>True while the program before has left a socket of this name that nobody has taken.</summary>
    public bool IsInherited(string name)
    {
        lock (_gate) { return _inherited.ContainsKey(name); }
    }

    /// <summary>The socket the program before has left, or else what <paramref name="open"/> makes; it is handed on later, until closed.</summary>
    public Socket Take(string name, Func<Socket> open)
    {
        Socket socket = Inherited(name) ?? open();
        lock (_gate) { _open[name] = socket; }
        return socket;
    }

    /// <summary>Descriptors of their own for all of them, by name; the sockets may be closed then, and these keep them alive. The caller closes them.</summary>
    public IReadOnlyDictionary<string, SafeFileHandle> Duplicate()
    {
        var copies = new Dictionary<string, SafeFileHandle>(StringComparer.Ordinal);
        lock (_gate)
        {
            foreach ((string name, Socket socket) in _open)
            {
                if (!socket.SafeHandle.IsClosed && Descriptor.Duplicate(socket.SafeHandle) is { } copy) { copies.Add(name, copy); }
            }
        }
        return copies;
    }

    /// <summary>Closes what the program before has left and this one does not use.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            foreach (int number in _inherited.Values) { _ = SocketCalls.Close(number); }
            _inherited.Clear();
        }
    }

    private Socket? Inherited(string name)
    {
        int number;
        lock (_gate)
        {
            if (!_inherited.Remove(name, out number)) { return null; }
        }
        try { return new Socket(new SafeSocketHandle(number, ownsHandle: true)); }
        catch (SocketException) { return null; } // no socket
    }
}
