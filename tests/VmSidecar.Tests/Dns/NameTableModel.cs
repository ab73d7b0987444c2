namespace VmSidecar.Tests.Dns;

/// <summary>
/// The table as the specification tells it: every name written out, one dictionary, no cleverness. What the real table works out at query time must
/// come to the same. Only for tables without name collisions, where the peers' own choice is undefined.
/// </summary>
internal sealed class NameTableModel
{
    private readonly Dictionary<string, (string[] V4, string[] V6)> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _aliases = new(StringComparer.Ordinal);
    private readonly string[] _search;

    public NameTableModel(IEnumerable<(string Host, string[] Ips, string Registry, string Short, string Namespace)> hosts, string ns, string domain, string[] search)
    {
        _search = search;
        string[] labels = domain.Split('.');
        string d = string.Join('.', labels[0] == ns ? labels[1..] : labels);
        foreach (var h in hosts)
        {
            List<string> names = [h.Host + "."];
            if (h.Registry == "Kubernetes" && h.Host.EndsWith(d, StringComparison.Ordinal))
            {
                names.Add($"{h.Short}.{h.Namespace}.");
                names.Add($"{h.Short}.{h.Namespace}.{d.Split('.')[0]}.");
                if (h.Namespace == ns) { names.Add(h.Short + "."); }
            }
            foreach (string name in names)
            {
                _names[name] = ([.. h.Ips.Where(i => !i.Contains(':', StringComparison.Ordinal))], [.. h.Ips.Where(i => i.Contains(':', StringComparison.Ordinal))]);
            }
        }
        foreach (string s in search.Reverse())
        {
            foreach (string name in _names.Keys.Where(n => n != s + "." && !n.EndsWith("." + s + ".", StringComparison.Ordinal))) { _aliases[name + s + "."] = name; }
        }
    }

    /// <summary>The answer in words: FWD, NODATA, or the records in order of the table.</summary>
    public string Answer(string question, bool v6)
    {
        string name = question.ToLowerInvariant();
        if (Find(name) is not { } found) { return "FWD"; }
        string[] addresses = v6 ? _names[found.Target].V6 : _names[found.Target].V4;
        if (addresses.Length == 0) { return "NODATA"; }
        IEnumerable<string> records = addresses.Select(a => $"{found.Owner} 30 {(v6 ? "AAAA" : "A")} {a}");
        return string.Join('|', found.Owner == name ? records : records.Prepend($"{name} 30 CNAME {found.Owner}"));
    }

    private (string Target, string Owner)? Find(string name)
    {
        if (_names.ContainsKey(name)) { return (name, name); }
        if (_aliases.TryGetValue(name, out string? target)) { return (target, target); }
        string[] labels = name.TrimEnd('.').Split('.');
        for (int i = 1; i < labels.Length; i++)
        {
            string wildcard = "*." + string.Join('.', labels[i..]) + ".";
            if (_names.ContainsKey(wildcard)) { return (wildcard, name); }
            if (_aliases.TryGetValue(wildcard, out target))
            {
                string s = _search.First(s => target + s + "." == wildcard);
                return (target, name[..^(s.Length + 1)]);
            }
        }
        return null;
    }
}
