using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>One request of either protocol in one form.</summary>
internal sealed record XdsAsk(
    string Type, IReadOnlyList<string> Names, IReadOnlyList<string> Unsubscribed, IReadOnlyCollection<string> Held,
    string Version, string Nonce, string? Error, Node? Node)
{
    public static XdsAsk From(DiscoveryRequest r) => new(r.TypeUrl, [.. r.ResourceNames], [], [], r.VersionInfo, r.ResponseNonce, r.ErrorDetail?.Message, r.Node);

    public static XdsAsk From(DeltaDiscoveryRequest r) => new(
        r.TypeUrl, [.. r.ResourceNamesSubscribe], [.. r.ResourceNamesUnsubscribe], [.. r.InitialResourceVersions.Keys], "", r.ResponseNonce, r.ErrorDetail?.Message, r.Node);

    public XdsSeen Seen() => new(XdsTypes.Short(Type), [.. Names], [.. Unsubscribed], Version, Nonce, Error, Node is not null);
}

/// <summary>What a request gets: nothing, everything subscribed, or these names.</summary>
internal readonly record struct XdsAnswer(bool Responds, IReadOnlyCollection<string>? Names)
{
    public static XdsAnswer Silence => default;
    public static XdsAnswer Everything => new(true, null);
}
