using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>What configuration asks of the host's network; implemented by <see cref="HostNetwork"/>, and by tests. Asks nobody over the network.</summary>
internal interface INetworkFacts
{
    /// <summary>The host's name without its domain (<c>hostname -s</c>), or null.</summary>
    string? HostName { get; }

    /// <summary>Addresses of interfaces that are up, in kernel order, loopback left out.</summary>
    ImmutableArray<IPAddress> InterfaceAddresses();

    /// <summary>The local address the kernel would use towards <paramref name="peer"/>; null: no route.</summary>
    IPAddress? SourceFor(IPAddress peer);
}
