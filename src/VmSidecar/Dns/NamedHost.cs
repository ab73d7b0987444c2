namespace VmSidecar.Dns;

/// <summary>Who gave a host its addresses. Order is precedence: the smaller wins.</summary>
internal enum HostSource : byte
{
    Kubernetes,
    External,
    LocalVip,
}

/// <summary>One host of a table with its addresses in wire form. Its spans lie in the table's memory, which never changes.</summary>
/// <param name="name">Lower-case wire name.</param>
/// <param name="v4">IPv4 addresses, four bytes each.</param>
/// <param name="v6">IPv6 addresses, sixteen bytes each.</param>
/// <param name="source">Its registry.</param>
/// <param name="hasShortNames">The host is exactly <c>shortname.namespace.D</c>, so its short names are found by putting D back on.</param>
/// <param name="isHeadless">A Kubernetes service without an address of its own, or a member of one: its addresses come and go with its pods.</param>
internal readonly ref struct NamedHost(ReadOnlySpan<byte> name, ReadOnlySpan<byte> v4, ReadOnlySpan<byte> v6, HostSource source, bool hasShortNames, bool isHeadless = false)
{
    public ReadOnlySpan<byte> Name { get; } = name;

    public ReadOnlySpan<byte> V4 { get; } = v4;

    public ReadOnlySpan<byte> V6 { get; } = v6;

    public HostSource Source { get; } = source;

    public bool HasShortNames { get; } = hasShortNames;

    public bool IsHeadless { get; } = isHeadless;
}

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
