using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// An immutable table of hosts, asked by wire name. Short names, search domains and wildcards are worked out from the queried name
/// instead of being stored. Made by <see cref="NameTableBuilder"/>; swapped as a whole; read without a lock and without allocation.
/// A large one lies outside the managed heap and is freed when the last who uses it leaves: what it gives (spans) is good until then.
/// </summary>
internal sealed class NameTable : Counted
{
    /// <summary>A name and a joined form of it. What <see cref="Find"/> needs as scratch.</summary>
    public const int ScratchSize = 2 * WireName.MaxLength;

    private readonly NameScope _scope;
    private readonly HostRecords _records;
    private readonly AddressIndex _byAddress;
    private readonly int _shortLabels; // most labels any shortname.namespace has: longer names need not be tried

    public NameTable(NameScope scope, HostRecords records, HostIndex hosts, HostIndex wildcards, AddressIndex byAddress, int shortLabels)
    {
        _scope = scope;
        _records = records;
        Hosts = hosts;
        Wildcards = wildcards;
        _byAddress = byAddress;
        _shortLabels = shortLabels;
    }

    /// <summary>All hosts and the few aliases that are no suffix of a host.</summary>
    public HostIndex Hosts { get; }

    /// <summary>Wildcard hosts by the name below the asterisk.</summary>
    public HostIndex Wildcards { get; }

    /// <summary>A table without hosts.</summary>
    public static NameTable Empty(NameScope scope)
    {
        using var builder = new NameTableBuilder(scope, 0, 0);
        return builder.Build();
    }

    /// <summary>
    /// Finds a lower-case wire name: 1 as it is, 2 below a search domain, 3 below a wildcard, the longest first (an expanded wildcard counts with its search domain).
    /// <paramref name="scratch"/> backs the alias of the match.
    /// </summary>
    public bool Find(ReadOnlySpan<byte> name, ReadOnlySpan<byte[]> search, Span<byte> scratch, out NameMatch match)
    {
        match = default;
        // 1
        if (FindName(name, scratch, out NamedHost host, out bool isShort))
        {
            match.Host = host;
            match.Rule = isShort ? MatchRule.ShortName : MatchRule.Exact;
            return true;
        }
        // 2
        Span<byte> stemmed = scratch[WireName.MaxLength..];
        foreach (byte[] domain in search)
        {
            if (!WireName.IsBelow(name, domain, out int stem)) { continue; }
            ReadOnlySpan<byte> bare = Cut(name, stem, stemmed);
            if (!_scope.Compat110 && EndsWith(bare, domain)) { continue; } // expanded once already
            if (!FindName(bare, scratch, out host, out _)) { continue; }
            match.Host = host;
            match.Rule = MatchRule.SearchDomain;
            match.Alias = bare;
            return true;
        }
        // 3
        return Wildcards.Count > 0 && !_scope.Compat110 && FindWildcard(name, search, stemmed, ref match);
    }

    /// <summary>The host an address belongs to, for PTR.</summary>
    public bool TryFindAddress(UInt128 address, out NamedHost host) => _byAddress.TryFind(address, out host);

    protected override void Free()
    {
        Hosts.Free();
        Wildcards.Free();
        _byAddress.Free();
        _records.Free();
    }

    /// <summary>A name as it is listed, or as a short name of a host in the cluster's own domain: S.N, S.N.svc, and S in the own namespace.</summary>
    private bool FindName(ReadOnlySpan<byte> name, Span<byte> scratch, out NamedHost host, out bool isShort)
    {
        isShort = false;
        if (Hosts.TryGetValue(name, out host)) { return true; }
        if (_shortLabels == 0) { return false; }
        isShort = true;
        int labels = WireName.CountLabels(name);
        if (labels < 1 || labels > _shortLabels + 1) { return false; }
        byte[] domain = _scope.Domain;
        if (FindShort(name, domain, scratch, out host)) { return true; }
        if (WireName.IsBelow(name, _scope.FirstLabel, out int stem) && TryCutAndJoin(name, stem, domain, scratch, out ReadOnlySpan<byte> full) && FindRegular(full, out host)) { return true; }
        return WireName.TryJoin(name, _scope.Namespace, scratch, out int joined)
            && WireName.TryJoin(scratch[..joined], domain, scratch, out joined) && FindRegular(scratch[..joined], out host);
    }

    private bool FindShort(ReadOnlySpan<byte> stem, byte[] domain, Span<byte> scratch, out NamedHost host)
    {
        host = default;
        return WireName.TryJoin(stem, domain, scratch[..WireName.MaxLength], out int joined) && FindRegular(scratch[..joined], out host);
    }

    private bool FindRegular(ReadOnlySpan<byte> name, out NamedHost host)
    {
        if (Hosts.TryGetValue(name, out host) && host.HasShortNames) { return true; }
        host = default;
        return false;
    }

    /// <summary>Strips labels from the front; at each level the wildcard itself, then the wildcard known below a search domain.</summary>
    private bool FindWildcard(ReadOnlySpan<byte> name, ReadOnlySpan<byte[]> search, Span<byte> stemmed, ref NameMatch match)
    {
        ReadOnlySpan<byte> rest = WireName.Parent(name);
        for (; rest.Length > 1; rest = WireName.Parent(rest))
        {
            if (Wildcards.TryGetValue(rest, out NamedHost host)) { match.Host = host; match.Rule = MatchRule.Wildcard; return true; }
            foreach (byte[] domain in search)
            {
                if (!WireName.IsBelow(rest, domain, out int stem)) { continue; }
                ReadOnlySpan<byte> bare = Cut(rest, stem, stemmed);
                if (EndsWith(bare, domain) || !Wildcards.TryGetValue(bare, out host)) { continue; }
                match.Host = host;
                match.Rule = MatchRule.Wildcard;
                // the queried name without the search domain: a literal asterisk in an answer is refused by glibc before 2.37
                match.Alias = Cut(name, name.Length - domain.Length, stemmed);
                return true;
            }
        }
        return false;
    }

    private static bool EndsWith(ReadOnlySpan<byte> name, byte[] domain) => name.SequenceEqual(domain) || WireName.IsBelow(name, domain, out _);

    private static ReadOnlySpan<byte> Cut(ReadOnlySpan<byte> name, int stem, Span<byte> into)
    {
        name[..stem].CopyTo(into);
        into[stem] = 0;
        return into[..(stem + 1)];
    }

    private static bool TryCutAndJoin(ReadOnlySpan<byte> name, int stem, byte[] suffix, Span<byte> into, out ReadOnlySpan<byte> joined)
    {
        joined = default;
        if (stem + suffix.Length > WireName.MaxLength) { return false; }
        name[..stem].CopyTo(into);
        suffix.CopyTo(into[stem..]);
        joined = into[..(stem + suffix.Length)];
        return true;
    }
}
