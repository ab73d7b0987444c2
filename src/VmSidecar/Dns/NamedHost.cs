namespace VmSidecar.Dns;

/// <summary>Who gave a host its addresses. Order is precedence: the smaller wins.</summary>
internal enum HostSource : byte
{
    Kubernetes,
    External,
    LocalVip,
}

/// <summary>One host of a table with its addresses in wire form. Immutable; shared by all queries.</summary>
/// <param name="Name">Lower-case wire name.</param>
/// <param name="V4">IPv4 addresses, four bytes each.</param>
/// <param name="V6">IPv6 addresses, sixteen bytes each.</param>
/// <param name="Source">Its registry.</param>
/// <param name="HasShortNames">The host is exactly <c>shortname.namespace.D</c>, so its short names are found by putting D back on.</param>
internal sealed record NamedHost(byte[] Name, byte[] V4, byte[] V6, HostSource Source, bool HasShortNames);

/// <summary>Which rule found a name; the words of <c>vmsidecar dns</c>.</summary>
internal enum MatchRule : byte
{
    Exact,
    ShortName,
    SearchDomain,
    Wildcard,
}

/// <summary>What a name means: the host, the rule, and the target of a CNAME when the name is known only with a search domain behind it.</summary>
internal ref struct NameMatch
{
    public NamedHost Host;
    public MatchRule Rule;

    /// <summary>Empty: the records belong to the queried name itself.</summary>
    public ReadOnlySpan<byte> Alias;
}
