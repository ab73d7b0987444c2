using System.Globalization;
using System.Net.Sockets;

namespace VmSidecar.Health;

/// <summary>Connection errors in the words of pilot-agent's runtime: istiod keeps them as the WorkloadEntry's message, and operators search for them. Pure.</summary>
internal static class GoErrors
{
    /// <summary><c>dial tcp 10.0.0.2:80: connect: connection refused</c>.</summary>
    public static string Dial(string address, SocketException e) => $"dial tcp {address}: {Reason(e)}";

    /// <summary>A dial that took too long.</summary>
    public static string DialTimeout(string address) => $"dial tcp {address}: i/o timeout";

    /// <summary><c>host:port</c>, IPv6 literals in brackets.</summary>
    public static string Join(string host, int port) => string.Create(CultureInfo.InvariantCulture,
        $"{(host.Contains(':', StringComparison.Ordinal) && !host.StartsWith('[') ? $"[{host}]" : host)}:{port}");

    private static string Reason(SocketException e) => e.SocketErrorCode switch
    {
        SocketError.ConnectionRefused => "connect: connection refused",
        SocketError.ConnectionReset => "read: connection reset by peer",
        SocketError.HostUnreachable => "connect: no route to host",
        SocketError.NetworkUnreachable => "connect: network is unreachable",
        SocketError.TimedOut => "connect: connection timed out",
        SocketError.HostNotFound or SocketError.NoData or SocketError.TryAgain => "lookup: no such host",
        SocketError.AddressNotAvailable => "connect: cannot assign requested address",
        _ => e.Message,
    };
}
