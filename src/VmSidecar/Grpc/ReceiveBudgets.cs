using System.Net.Sockets;

using VmSidecar.Linux;

namespace VmSidecar.Grpc;

/// <summary>
/// What the clients of a server may hold: one budget for those who can do as they like with the agent anyway (root and the agent's own user, under whom Envoy runs), and another one
/// for everybody else, so that strangers on a socket that is open to all neither fill the memory nor use up what Envoy needs.
/// </summary>
/// <param name="most">Bytes of each.</param>
internal sealed class ReceiveBudgets(long most)
{
    private readonly ReceiveBudget _own = new(most), _others = new(most);

    /// <summary>Bytes held in both.</summary>
    public long Held => _own.Held + _others.Held;

    /// <summary>The budget of whoever is at the other end; where the kernel does not say, that of strangers.</summary>
    public ReceiveBudget Of(Socket? socket) => Of(socket is null ? null : PeerCredentials.Of(socket)?.UserId);

    /// <summary>The budget of a user.</summary>
    public ReceiveBudget Of(uint? user) => IsOwn(user) ? _own : _others;

    /// <summary>Root or the agent's own user.</summary>
    public static bool IsOwn(uint? user) => user == 0 || user == PeerCredentials.OwnUserId;
}
