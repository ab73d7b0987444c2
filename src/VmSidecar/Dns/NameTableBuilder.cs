using System.Collections.Frozen;
using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>
/// Makes a <see cref="NameTable"/>, independent of the order in which hosts are added. Precedence for one name: a host listed under it,
/// then a service's short name, then a pod's; among hosts, Kubernetes before External. Single use.
/// </summary>
internal sealed class NameTableBuilder(NameScope scope, int capacity)
{
    private readonly Dictionary<byte[], NamedHost> _hosts = new(capacity, WireNameComparer.Instance);
    private readonly Dictionary<byte[], NamedHost> _wildcards = new(WireNameComparer.Instance);
    private readonly List<(byte[] Name, NamedHost Host)> _aliases = [];
    private readonly AddressParser _addresses = new(scope.Compat110);
    private int _shortLabels;

    /// <summary>Builds from an encoded NameTable; null with the reason when the bytes are broken.</summary>
    public static NameTable? FromNds(ReadOnlySpan<byte> message, NameScope scope, out string? problem)
    {
        var builder = new NameTableBuilder(scope, message.Length / 128);
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
        if (hasDot && (scope.Compat110 || host.IsKubernetes)) { return; } // such a key yields no name there
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        if (!WireName.TryEncode(text, name, out int length) || length <= 1) { return; }
        if (!_addresses.TryRead(host, out byte[] v4, out byte[] v6)) { return; }

        bool inDomain = host.IsKubernetes && HasShortNames(host);
        bool regular = inDomain && IsRegular(host);
        var entry = new NamedHost(name[..length].ToArray(), v4, v6, host.IsKubernetes ? HostSource.Kubernetes : HostSource.External, regular);
        Add(entry);
        if (regular) { _shortLabels = Math.Max(_shortLabels, WireName.CountLabels(entry.Name) - WireName.CountLabels(scope.Domain)); }
        else if (inDomain) { AddShortNames(host, entry); }
        if (inDomain && !scope.Compat110) { AddAltHosts(host, entry); }
    }

    /// <summary>Adds one host under its own name.</summary>
    public void Add(NamedHost entry)
    {
        Keep(_hosts, entry.Name, entry);
        if (entry.Name.Length > 3 && entry.Name[0] == 1 && entry.Name[1] == '*') { Keep(_wildcards, entry.Name[2..], entry); }
    }

    public NameTable Build()
    {
        _aliases.Sort((a, b) => CompareAliases(a.Host, b.Host));
        foreach ((byte[] name, NamedHost host) in _aliases) { _hosts.TryAdd(name, host); }
        return new(scope, _hosts.ToFrozenDictionary(WireNameComparer.Instance), _wildcards.ToFrozenDictionary(WireNameComparer.Instance), ByAddress(), _shortLabels);
    }

    /// <summary>Names for PTR: only of hosts that exist nowhere else, or whose address does; a public address keeps its public name.</summary>
    private FrozenDictionary<UInt128, NamedHost> ByAddress()
    {
        var found = new Dictionary<UInt128, NamedHost>();
        foreach (NamedHost host in _hosts.Values)
        {
            if (host.Name[1] == '*') { continue; }
            for (int i = 0; i < host.V4.Length; i += 4) { KeepAddress(found, MeshAddress.Key(host.V4.AsSpan(i, 4)), host); }
            for (int i = 0; i < host.V6.Length; i += 16) { KeepAddress(found, MeshAddress.Key(host.V6.AsSpan(i, 16)), host); }
        }
        return found.ToFrozenDictionary();
    }

    private static void KeepAddress(Dictionary<UInt128, NamedHost> found, UInt128 address, NamedHost host)
    {
        if (host.Source != HostSource.Kubernetes && !MeshAddress.IsVirtual(address)) { return; }
        if (!found.TryGetValue(address, out NamedHost? other) || CompareAliases(host, other) < 0) { found[address] = host; }
    }

    /// <summary>Kubernetes in this cluster's domain, with both parts of a short name. The suffix is compared as text, without looking for a label's start, as the peers do.</summary>
    private bool HasShortNames(NdsHost host) =>
        scope.Domain.Length > 0 && host.ShortName.Length > 0 && host.Namespace.Length > 0
        && host.Name.Length >= scope.DomainText.Length && EqualsIgnoreCase(host.Name[^scope.DomainText.Length..], scope.DomainText);

    private bool IsRegular(NdsHost host)
    {
        ReadOnlySpan<byte> name = host.Name;
        int s = host.ShortName.Length, n = host.Namespace.Length;
        return name.Length == s + n + scope.DomainText.Length + 2 && name[s] == '.' && name[s + 1 + n] == '.'
            && EqualsIgnoreCase(name[..s], host.ShortName) && EqualsIgnoreCase(name.Slice(s + 1, n), host.Namespace);
    }

    private void AddShortNames(NdsHost host, NamedHost entry)
    {
        Span<byte> text = stackalloc byte[2 * WireName.MaxLength];
        if (host.ShortName.Length + host.Namespace.Length + 2 > WireName.MaxLength) { return; }
        host.ShortName.CopyTo(text);
        int length = host.ShortName.Length;
        if (EqualsIgnoreCase(host.Namespace, scope.NamespaceText)) { AddAlias(text[..length], entry); }
        text[length++] = (byte)'.';
        host.Namespace.CopyTo(text[length..]);
        length += host.Namespace.Length;
        AddAlias(text[..length], entry);
        text[length++] = (byte)'.';
        ReadOnlySpan<byte> first = scope.FirstLabel.AsSpan(1, scope.FirstLabel[0]);
        first.CopyTo(text[length..]);
        AddAlias(text[..(length + first.Length)], entry);
    }

    private void AddAltHosts(NdsHost host, NamedHost entry)
    {
        var fields = new ProtoReader(host.Fields);
        while (fields.Next())
        {
            if (fields.Is(NdsHost.AltHosts)) { AddAlias(fields.Bytes, entry); }
        }
    }

    private void AddAlias(ReadOnlySpan<byte> text, NamedHost entry)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        if (WireName.TryEncode(text, name, out int length) && length > 1) { _aliases.Add((name[..length].ToArray(), entry)); }
    }

    /// <summary>Two hosts under one name (they differed in letter case): the better source, then more addresses, then the smaller bytes.</summary>
    private static void Keep(Dictionary<byte[], NamedHost> into, byte[] name, NamedHost host)
    {
        if (!into.TryGetValue(name, out NamedHost? other) || Compare(host, other) < 0) { into[name] = host; }
    }

    private static int Compare(NamedHost a, NamedHost b)
    {
        int order = a.Source.CompareTo(b.Source);
        if (order == 0) { order = (b.V4.Length + b.V6.Length).CompareTo(a.V4.Length + a.V6.Length); }
        if (order == 0) { order = a.V4.AsSpan().SequenceCompareTo(b.V4); }
        return order != 0 ? order : a.V6.AsSpan().SequenceCompareTo(b.V6);
    }

    /// <summary>A service before a pod of a headless one: fewer labels first; then by name.</summary>
    private static int CompareAliases(NamedHost a, NamedHost b)
    {
        int order = a.Source.CompareTo(b.Source);
        if (order == 0) { order = WireName.CountLabels(a.Name).CompareTo(WireName.CountLabels(b.Name)); }
        return order != 0 ? order : a.Name.AsSpan().SequenceCompareTo(b.Name);
    }

    private static bool EqualsIgnoreCase(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b) => System.Text.Ascii.EqualsIgnoreCase(a, b);
}
