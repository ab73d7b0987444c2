using System.Globalization;
using System.Net;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// Sends a packet through a native table as nft prints it: the model of <see cref="PacketWalker"/> in nftables' words. Throws at every word it does not know,
/// so that no rule is passed over in silence.
/// </summary>
internal sealed class NftWalker
{
    private static readonly string[] s_hooks = ["raw", "mangle", "nat"];
    private readonly Dictionary<string, List<string[]>> _chains = [];

    public NftWalker(string listed)
    {
        List<string[]>? chain = null;
        foreach (string line in listed.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.StartsWith("chain ", StringComparison.Ordinal)) { _chains[line.Split(' ')[1]] = chain = []; }
            else if (chain is not null && line is not "}" && !line.StartsWith("type ", StringComparison.Ordinal)) { chain.Add(Words(line)); }
        }
    }

    public string Verdict(Packet packet)
    {
        var fate = new Fate { Mark = packet.Mark, ConnectionMark = packet.ConnectionMark };
        foreach (string table in s_hooks)
        {
            if (table == "nat" && packet.State != "NEW") { continue; }
            Walk($"{table}-{packet.Hook.ToLowerInvariant()}", packet, fate);
            if (fate.Ended is "DROP" || fate.Ended?.StartsWith("TPROXY", StringComparison.Ordinal) == true) { break; }
            if (table != "nat") { fate.Ended = null; }
        }
        return $"{fate.Ended ?? "goes on"} mark={fate.Mark} connmark={fate.ConnectionMark} zone={fate.Zone ?? "0"}";
    }

    /// <summary>True: the packet's way through this hook is decided.</summary>
    private bool Walk(string chain, Packet packet, Fate fate)
    {
        foreach (string[] rule in _chains.GetValueOrDefault(chain, []))
        {
            bool? end = Step(rule, packet, fate);
            if (end is { } decided) { return decided; }
        }
        return false;
    }

    /// <summary>Null: on to the next rule; false: back to the caller; true: decided.</summary>
    private bool? Step(string[] rule, Packet p, Fate fate)
    {
        for (int i = 0; i < rule.Length;)
        {
            switch (rule[i])
            {
                case "return": return false;
                case "accept": return true;
                case "drop": fate.Ended = "DROP"; return true;
                case "jump":
                    if (Walk(rule[i + 1], p, fate)) { return true; }
                    return null;
                case "redirect": fate.Ended = $"REDIRECT {rule[i + 2].TrimStart(':')}"; return true;
                case "tproxy":
                    fate.Ended = $"TPROXY {rule[i + 3].TrimStart(':')}";
                    i += 4;
                    continue;
                case "meta" when rule is [.., "set", _, "accept"] && rule[i + 1] == "mark" && fate.Ended is { } tproxy:
                    fate.Ended = $"{tproxy} 0x{Number(rule[i + 3]):x}/0xffffffff";
                    return true;
                case "meta" when rule[i + 1] == "mark" && rule[i + 2] == "set":
                    fate.Mark = rule[i + 3] == "ct" ? fate.ConnectionMark : Number(rule[i + 3]);
                    return null;
                case "ct" when rule[i + 1] == "mark" && rule[i + 2] == "set": fate.ConnectionMark = fate.Mark; return null;
                case "ct" when rule[i + 1] == "zone": fate.Zone ??= rule[i + 3]; return null;
                default:
                    (bool holds, int used) = Match(rule, i, p, fate);
                    if (!holds) { return null; }
                    i += used;
                    continue;
            }
        }
        throw new InvalidOperationException($"a rule without an end: {string.Join(' ', rule)}");
    }

    private static (bool Holds, int Words) Match(string[] rule, int at, Packet p, Fate fate)
    {
        string key = $"{rule[at]} {rule[at + 1]}";
        int width = rule[at] is "iifname" or "oifname" ? 1 : rule[at] == "fib" ? 3 : 2;
        if (width == 1) { key = rule[at]; }
        if (key == "tcp flags")
        {
            string test = string.Join(' ', rule[(at + 2)..(at + 6)]);
            return test == "!= 0x2 / 0x1,0x2,0x4,0x10" ? (p.Protocol == "tcp" && !p.Syn, 6) : throw new InvalidOperationException($"unknown match tcp flags {test}");
        }
        bool not = rule[at + width] == "!=";
        int from = at + width + (not ? 1 : 0);
        string value = rule[from];
        bool holds = key switch
        {
            "meta nfproto" => value is "ipv4" or "2" ? !p.Destination.Contains(':', StringComparison.Ordinal) : p.Destination.Contains(':', StringComparison.Ordinal),
            "meta l4proto" => Protocol(value) == p.Protocol,
            "ip saddr" or "ip6 saddr" => In(value, p.Source),
            "ip daddr" or "ip6 daddr" => In(value, p.Destination),
            "iifname" => p.Hook == "PREROUTING" && p.Interface == value,
            "oifname" => p.Hook == "OUTPUT" && p.Interface == value,
            "tcp dport" or "udp dport" => p.Protocol == key[..3] && Ports(value, p.DestinationPort) != not,
            "tcp sport" or "udp sport" => p.Protocol == key[..3] && Ports(value, p.SourcePort) != not,
            "fib daddr" => p.ToThisHost,
            "ct state" => value.Split(',').Any(s => State(s) == p.State),
            "meta mark" => Number(value) == fate.Mark,
            "ct mark" => Number(value) == fate.ConnectionMark,
            "meta skuid" => p.Uid == Number(value),
            "meta skgid" => p.Gid == Number(value),
            _ => throw new InvalidOperationException($"unknown match {key}"),
        };
        if (rule[at] is "ip" or "ip6" && (rule[at] == "ip6") != p.Destination.Contains(':', StringComparison.Ordinal)) { return (false, from - at + 1); } // nor for the other family
        if (key[1..] is "cp dport" or "dp dport" or "cp sport" or "dp sport") { not = false; } // its own "not" never holds for another protocol
        return (holds != not, from - at + 1);
    }

    private static bool In(string range, string address) =>
        (range.Contains('/', StringComparison.Ordinal) ? IPNetwork.Parse(range) : new IPNetwork(IPAddress.Parse(range), range.Contains(':', StringComparison.Ordinal) ? 128 : 32)).Contains(IPAddress.Parse(address));

    private static bool Ports(string value, ushort port) => value.Trim('{', '}').Split(',').Any(v => v.Split('-') is [var low, var high] ? port >= Number(low) && port <= Number(high) : port == Number(v));

    private static string Protocol(string value) => value switch { "6" => "tcp", "17" => "udp", _ => value };

    private static string State(string value) => value switch { "0x1" or "invalid" => "INVALID", "0x2" or "established" => "ESTABLISHED", "0x4" or "related" => "RELATED", _ => throw new InvalidOperationException(value) };

    private static uint Number(string text) => text.StartsWith("0x", StringComparison.Ordinal)
        ? uint.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) : uint.Parse(text, CultureInfo.InvariantCulture);

    /// <summary>Words without the comment; what stands in braces or brackets is one word.</summary>
    private static string[] Words(string line)
    {
        int comment = line.IndexOf(" comment \"", StringComparison.Ordinal);
        var words = new List<string>();
        var word = new System.Text.StringBuilder();
        int depth = 0;
        foreach (char c in comment < 0 ? line : line[..comment])
        {
            depth += c is '{' or '(' ? 1 : c is '}' or ')' ? -1 : 0;
            if (c == ' ' && depth == 0) { words.Add(word.ToString()); word.Clear(); }
            else if (c is not (' ' or '"')) { word.Append(c); }
        }
        words.Add(word.ToString());
        return [.. words];
    }

    private sealed class Fate
    {
        public string? Ended { get; set; }
        public uint Mark { get; set; }
        public uint ConnectionMark { get; set; }
        public string? Zone { get; set; }
    }
}
