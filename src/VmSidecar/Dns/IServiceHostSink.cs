namespace VmSidecar.Dns;

/// <summary>
/// Takes the hosts that clusters on their way to Envoy name, so that those istiod leaves without an address can get a virtual one. Implemented by
/// the DNS server; called by the xDS relay, one call at a time, with the state after the first CDS or RDS push and each that changes it.
/// </summary>
internal interface IServiceHostSink
{
    /// <summary>Replaces the set of hosts of outbound clusters whose endpoints Envoy finds itself (<see cref="ServiceCluster"/> tells which), and of routes without a cluster of their own.</summary>
    void Accept(IReadOnlyCollection<string> hosts);
}
