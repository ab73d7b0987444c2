using System.Collections.Immutable;

namespace VmSidecar.Xds;

/// <summary>Who holds the one stream to istiod.</summary>
internal enum XdsStreamOwner
{
    /// <summary>Nobody: istiod cannot be reached or refuses.</summary>
    None,

    /// <summary>The agent, on its own behalf: there is no Envoy.</summary>
    Agent,

    /// <summary>Envoy and the agent together.</summary>
    Joint,
}

/// <summary>How far a response got.</summary>
internal enum XdsAck
{
    /// <summary>Nothing was sent yet, or nobody has answered the last response.</summary>
    Waiting,

    /// <summary>Accepted.</summary>
    Accepted,

    /// <summary>Refused; the reason is in <see cref="XdsTypeStatus.Error"/>.</summary>
    Refused,
}

/// <summary>One type on the current stream, as relayed.</summary>
internal sealed record XdsTypeStatus(
    string TypeUrl, string Version, string Nonce, XdsAck Ack, string Error, int Resources, long Requests, long Responses, DateTimeOffset? LastResponse);

/// <summary>The relay at one moment, for status pages. A snapshot: nothing in it changes.</summary>
/// <param name="Owner">Who holds the stream.</param>
/// <param name="Since">Since when it has answered; null while it has not.</param>
/// <param name="Mode">Protocol in use or expected.</param>
/// <param name="Id">Number of the Envoy stream; 0 for the agent's own.</param>
/// <param name="LastNames">When the last name table was taken; null: never.</param>
/// <param name="Trouble">Why there is no stream of Envoy's, or none at all, as last seen; empty when all is well.</param>
/// <param name="Types">Per type, in the order first seen.</param>
internal sealed record XdsStatus(
    XdsStreamOwner Owner, DateTimeOffset? Since, XdsMode Mode, long Id, DateTimeOffset? LastNames, string Trouble, ImmutableArray<XdsTypeStatus> Types)
{
    /// <summary>Istio's filters left out because Envoy cannot load them, in name order; empty with Istio's Envoy.</summary>
    public ImmutableArray<string> LeftOut { get; init; } = [];

    /// <summary>Filters that Envoy cannot load and that stay all the same, because an access rule reads what they write: their listeners fail.</summary>
    public ImmutableArray<string> KeptIn { get; init; } = [];

    /// <summary>Envoy is served from the disk, and this is when istiod last stood behind it (stale); null: it is not.</summary>
    public DateTimeOffset? ServingFrom { get; init; }
}
