using System.Collections.Immutable;
using System.Net;

using VmSidecar.Configuration;

namespace VmSidecar.Tests.Configuration;

/// <summary>A host with the addresses a test gives it; every peer is reached from the first, or from <see cref="Routed"/>.</summary>
internal sealed class FakeNetwork(params string[] addresses) : INetworkFacts
{
    public string? HostName { get; init; } = "vm1";
    public string? Routed { get; init; }
    public List<IPAddress> Asked { get; } = [];

    public ImmutableArray<IPAddress> InterfaceAddresses() => [.. addresses.Select(IPAddress.Parse)];

    public IPAddress? SourceFor(IPAddress peer)
    {
        Asked.Add(peer);
        return Routed is null ? null : IPAddress.Parse(Routed);
    }
}
