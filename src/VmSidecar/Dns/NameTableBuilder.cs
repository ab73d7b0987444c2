using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>
/// Makes a <see cref="NameTable"/>, independent of the order in which hosts are added. Precedence for one name: a host listed under it,
/// then a service's short name, then a pod's; among hosts, Kubernetes before External. Single use.
/// Its memory goes to the table; of a builder that makes none, <see cref="Dispose"/> frees it.
/// </summary>
internal sealed class NameTableBuilder : IDisposable
{
    private readonly NameScope _scope;
    private readonly HostRecords _records;
    private readonly HostIndex _hosts;
    private readonly HostIndex _wildcards;
    private readonly List<(int Alias, int Host)> _aliases = [];
    private readonly AddressParser _addresses;
    private AddressIndex? _byAddress;
    private int _shortLabels;
    private int _steps;
    private bool _given;

    /// <param name="scope">What short names are relative to.</param>
    /// <param name="hosts">Hosts expected.</param>
    /// <param name="bytes">Bytes their names and addresses will take, as far as one can tell.</param>
    /// <exception cref="InsufficientMemoryException">The kernel has no memory; then nothing of it is taken.</exception>
    public NameTableBuilder(NameScope scope, int hosts, int bytes)
    {
        _scope = scope;
        _addresses = new(scope.Compat110);
        _records = new(bytes);
        try
        {
            _wildcards = new(_records, skip: 2, 0);
            _hosts = new(_records, skip: 0, hosts);
        }
        catch
        {
            _records.Free(); // nobody gets to dispose of this one
            throw;
        }
    }

    /// <summary>Builds from an encoded NameTable; null with the reason when the bytes are broken.</summary>
    public static NameTable? FromNds(ReadOnlySpan<byte> message, NameScope scope, out string? problem)
    {
        using var builder = new NameTableBuilder(scope, message.Length / 96, message.Length / 8 * 7); // a record is shorter than its entry, but for IPv6 hosts with short names
        var reader = new NdsReader(message);
        while (reader.TryReadHost(out NdsHost host)) { builder.Add(host); }
        problem = reader.IsBroken ? "proto: cannot parse invalid wire-format data" : null;
        return reader.IsBroken ? null : builder.Build();
    }

    /// <summary>Adds one host of istiod's table; skipped when nothing could ever be answered from it.</summary>
    public void Add(NdsHost host)
    {
        ReadOnlySpan<byte> text = host.Name;
        bool hasDot = text.Length > 0 && text[^1] == '.';
        if (hasDot && (_scope.Compat110 || host.IsKubernetes)) { return; } // such a key yields no name there
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        if (!WireName.TryEncode(text, name, out int length) || length <= 1) { return; }
        if (!_addresses.TryRead(host)) { return; }

        bool inDomain = host.IsKubernetes && HasShortNames(host);
        bool regular = inDomain && IsRegular(host);
        name = name[..length];
        int at = Add(new NamedHost(name, _addresses.V4, _addresses.V6, host.IsKubernetes ? HostSource.Kubernetes : HostSource.External, regular, IsHeadless(host)));
        if (IsMember(host)) { _records.MarkMember(at); }
        if (regular) { _shortLabels = Math.Max(_shortLabels, WireName.CountLabels(name) - WireName.CountLabels(_scope.Domain)); }
        else if (inDomain) { AddShortNames(host, at); }
        if (inDomain && !_scope.Compat110) { AddAltHosts(host, at); }
    }

    /// <summary>Adds one host under its own name; returns the place of its record.</summary>
    public int Add(NamedHost entry)
    {
        int at = _records.Add(entry);
        Breather.Step(ref _steps);
        Keep(ref _hosts.At(entry.Name), at);
        if (entry.Name.Length > 3 && entry.Name[0] == 1 && entry.Name[1] == '*') { Keep(ref _wildcards.At(entry.Name[2..]), at); }
        return at;
    }

    public NameTable Build()
    {
        _aliases.Sort((a, b) => CompareAliases(_records.Host(a.Host), _records.Host(b.Host)));
        foreach ((int alias, _) in _aliases)
        {
            ref int at = ref _hosts.At(_records.Name(alias));
            if (at == 0) { at = alias; }
        }
        _byAddress = new(_records, _hosts.Count);
        FindAddresses(_byAddress);
        _given = true;
        return new(_scope, _records, _hosts, _wildcards, _byAddress, _shortLabels);
    }

    /// <summary>Frees what no table was made of.</summary>
    public void Dispose()
    {
        if (_given) { return; }
        _hosts.Free();
        _wildcards.Free();
        _byAddress?.Free();
        _records.Free();
    }

    /// <summary>Names for PTR, and in the same walk the services of members. Names: only of hosts that exist nowhere else, or whose address does; a public address keeps its public name.</summary>
    private void FindAddresses(AddressIndex found)
    {
        foreach (HostEntry entry in _hosts)
        {
            Breather.Step(ref _steps);
            if (entry.IsAlias) { continue; }
            NamedHost host = entry.Host;
            if (_records.IsMember(entry.At)) { MarkServiceOf(host); }
            if (host.Name[1] == '*') { continue; }
            int at = _records.Addresses(entry.At);
            for (int i = 0; i < host.V4.Length; i += 4) { KeepAddress(found, entry.At, at + i, 4); }
            for (int i = 0; i < host.V6.Length; i += 16) { KeepAddress(found, entry.At, at + host.V4.Length + i, 16); }
        }
    }

    /// <summary>A service with a member is headless, though it has one pod and so one address.</summary>
    private void MarkServiceOf(NamedHost member)
    {
        int at = _hosts.Find(member.Name[(1 + member.Name[0])..]);
        if (at != 0 && !_records.IsAlias(at) && _records.Host(at).Source == HostSource.Kubernetes) { _records.MarkHeadless(at); }
    }

    private void KeepAddress(AddressIndex found, int at, int bytes, int length)
    {
        NamedHost host = _records.Host(at);
        if (host.Source != HostSource.Kubernetes && !MeshAddress.IsVirtual(MeshAddress.Key(_records.Bytes(bytes, length)))) { return; }
        ref int other = ref found.HostAt(bytes, length);
        if (other == 0 || CompareAliases(host, _records.Host(other)) < 0) { other = at; }
    }

    /// <summary>Kubernetes in this cluster's domain, with both parts of a short name. The suffix is compared as text, without looking for a label's start, as the peers do.</summary>
    private bool HasShortNames(NdsHost host) =>
        _scope.Domain.Length > 0 && host.ShortName.Length > 0 && host.Namespace.Length > 0
        && host.Name.Length >= _scope.DomainText.Length && EqualsIgnoreCase(host.Name[^_scope.DomainText.Length..], _scope.DomainText);

    /// <summary>As far as one entry shows: a member has a dot in its short name, and only without an address of its own does a service have several of a family.</summary>
    private bool IsHeadless(NdsHost host) =>
        host.IsKubernetes && (_addresses.V4.Length > 4 || _addresses.V6.Length > 16 || IsMember(host));

    private static bool IsMember(NdsHost host) => host.IsKubernetes && host.ShortName.Contains((byte)'.');

    private bool IsRegular(NdsHost host)
    {
        ReadOnlySpan<byte> name = host.Name;
        int s = host.ShortName.Length, n = host.Namespace.Length;
        return name.Length == s + n + _scope.DomainText.Length + 2 && name[s] == '.' && name[s + 1 + n] == '.'
            && EqualsIgnoreCase(name[..s], host.ShortName) && EqualsIgnoreCase(name.Slice(s + 1, n), host.Namespace);
    }

    private void AddShortNames(NdsHost host, int at)
    {
        Span<byte> text = stackalloc byte[2 * WireName.MaxLength];
        if (host.ShortName.Length + host.Namespace.Length + 2 > WireName.MaxLength) { return; }
        host.ShortName.CopyTo(text);
        int length = host.ShortName.Length;
        if (EqualsIgnoreCase(host.Namespace, _scope.NamespaceText)) { AddAlias(text[..length], at); }
        text[length++] = (byte)'.';
        host.Namespace.CopyTo(text[length..]);
        length += host.Namespace.Length;
        AddAlias(text[..length], at);
        text[length++] = (byte)'.';
        ReadOnlySpan<byte> first = _scope.FirstLabel.AsSpan(1, _scope.FirstLabel[0]);
        first.CopyTo(text[length..]);
        AddAlias(text[..(length + first.Length)], at);
    }

    private void AddAltHosts(NdsHost host, int at)
    {
        var fields = new ProtoReader(host.Fields);
        while (fields.Next())
        {
            if (fields.Is(NdsHost.AltHosts)) { AddAlias(fields.Bytes, at); }
        }
    }

    private void AddAlias(ReadOnlySpan<byte> text, int at)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        if (WireName.TryEncode(text, name, out int length) && length > 1) { _aliases.Add((_records.AddAlias(name[..length], at), at)); }
    }

    /// <summary>Two hosts under one name (they differed in letter case): the better source, then more addresses, then the smaller bytes.</summary>
    private void Keep(ref int place, int at)
    {
        if (place == 0 || Compare(_records.Host(at), _records.Host(place)) < 0) { place = at; }
    }

    private static int Compare(NamedHost a, NamedHost b)
    {
        int order = a.Source.CompareTo(b.Source);
        if (order == 0) { order = (b.V4.Length + b.V6.Length).CompareTo(a.V4.Length + a.V6.Length); }
        if (order == 0) { order = a.V4.SequenceCompareTo(b.V4); }
        return order != 0 ? order : a.V6.SequenceCompareTo(b.V6);
    }

    /// <summary>A service before a pod of a headless one: fewer labels first; then by name.</summary>
    private static int CompareAliases(NamedHost a, NamedHost b)
    {
        int order = a.Source.CompareTo(b.Source);
        if (order == 0) { order = WireName.CountLabels(a.Name).CompareTo(WireName.CountLabels(b.Name)); }
        if (order == 0) { order = a.Name.SequenceCompareTo(b.Name); }
        return order != 0 ? order : Compare(a, b);
    }

    private static bool EqualsIgnoreCase(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b) => System.Text.Ascii.EqualsIgnoreCase(a, b);
}
