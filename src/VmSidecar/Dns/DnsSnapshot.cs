namespace VmSidecar.Dns;

/// <summary>All that one query is answered from, swapped as a whole.</summary>
/// <param name="Names">istiod's table (or the last one, from disk); empty before the first.</param>
/// <param name="Vips">Hosts istiod leaves without an address, with the agent's own virtual ones.</param>
/// <param name="VipsOnlyWhereUnknown">The virtual ones count only where upstream says the name does not exist.</param>
/// <param name="Search">Search domains of resolv.conf as lower-case wire names.</param>
/// <param name="Ports">Ports of services; kept up to date in place.</param>
internal sealed record DnsSnapshot(NameTable Names, NameTable Vips, bool VipsOnlyWhereUnknown, byte[][] Search, ServicePorts Ports);
