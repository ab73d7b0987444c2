using System.Collections.Immutable;

using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod.Authentication;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>One open ADS stream as istiod's debug pages show it.</summary>
internal sealed record XdsStreamView(
    string Id, ProxyNode Node, Caller? Identity, bool Delta, string Peer, ImmutableArray<XdsTypeView> Types, ImmutableArray<XdsSeen> Requests)
{
    /// <summary>The state of a type by short name; NotSent where it is not subscribed.</summary>
    public SyncState State(string type) => Types.FirstOrDefault(t => t.Type == type)?.State ?? SyncState.NotSent;
}

/// <summary>One request as it arrived.</summary>
/// <param name="Type">Short name.</param>
/// <param name="Names">Names asked for (delta: subscribed).</param>
/// <param name="Removed">Delta: unsubscribed.</param>
/// <param name="Version">version_info; empty in delta.</param>
/// <param name="Nonce">response_nonce.</param>
/// <param name="Error">Message of error_detail, null without one.</param>
/// <param name="HasNode">The request carried a node.</param>
internal sealed record XdsSeen(string Type, ImmutableArray<string> Names, ImmutableArray<string> Removed, string Version, string Nonce, string? Error, bool HasNode);

/// <summary>A stream that has ended, and the status istiod gave it.</summary>
internal sealed record XdsStreamEnd(string Id, string NodeId, GrpcStatus Status);
