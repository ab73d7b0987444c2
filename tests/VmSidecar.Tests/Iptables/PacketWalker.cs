using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using VmSidecar.Iptables;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// Sends a packet through the text of saved rules, as the kernel would, and says what becomes of it: a model of netfilter small enough to trust. It knows
/// exactly the matches and targets that occur and throws at any other, so that no rule is passed over in silence.
/// </summary>
internal sealed class PacketWalker(ImmutableArray<InstalledTable> tables)
{
    /// <summary>Zone by raw, marks and destination by mangle, destination by nat.</summary>
    public string Verdict(Packet packet)
    {
        var fate = new Fate { Mark = packet.Mark, ConnectionMark = packet.ConnectionMark };
        foreach (string table in new[] { "raw", "mangle", "nat" })
        {
            if (table == "nat" && packet.State != "NEW") { continue; } // nat sees the first packet only
            if (tables.FirstOrDefault(t => t.Name == table) is not { } found) { continue; }
            Walk(found, packet.Hook, packet, fate);
            if (fate.Ended is "DROP" || fate.Ended?.StartsWith("TPROXY", StringComparison.Ordinal) == true) { break; }
            if (table != "nat") { fate.Ended = null; }
        }
        return $"{fate.Ended ?? "goes on"} mark={fate.Mark} connmark={fate.ConnectionMark} zone={fate.Zone ?? "0"}";
    }

    /// <summary>True: the packet's way through this table is decided.</summary>
    private static bool Walk(InstalledTable table, string chain, Packet packet, Fate fate)
    {
        foreach (InstalledRule rule in table.Rules.Where(r => r.Chain == chain))
        {
            if (!Matches(rule, packet, fate)) { continue; }
            switch (rule.Target)
            {
                case "RETURN":
                    return false; // in a built-in chain: the policy, which is ACCEPT
                case "ACCEPT" or "DROP":
                    fate.Ended = rule.Target == "DROP" ? "DROP" : null;
                    return true;
                case "REDIRECT":
                    fate.Ended = $"REDIRECT {rule.After("--to-ports")}";
                    return true;
                case "TPROXY":
                    fate.Ended = $"TPROXY {rule.After("--on-port")} {rule.After("--tproxy-mark")}";
                    return true;
                case "MARK":
                    fate.Mark = Number(rule.After("--set-xmark")!.Split('/')[0]);
                    break;
                case "CONNMARK" when rule.Words.Contains("--save-mark"):
                    fate.ConnectionMark = fate.Mark;
                    break;
                case "CONNMARK" when rule.Words.Contains("--restore-mark"):
                    fate.Mark = fate.ConnectionMark;
                    break;
                case "CT":
                    fate.Zone ??= rule.After("--zone"); // the first zone stays
                    break;
                case { } jump when table.Chains.Contains(jump):
                    if (Walk(table, jump, packet, fate)) { return true; }
                    break;
                default:
                    throw new InvalidOperationException($"unknown target: {rule.Spec}");
            }
        }
        return false;
    }

    private static bool Matches(InstalledRule rule, Packet packet, Fate fate)
    {
        bool not = false;
        string module = "";
        for (int i = 0; i < rule.Words.Length; i++)
        {
            string word = rule.Words[i];
            if (word == "!") { not = true; continue; }
            if (word is "-j" or "-g") { return true; }
            if (word == "-m") { module = rule.Words[++i]; continue; }
            bool holds = Holds(module == "connmark" ? "connmark" : word, i + 1 < rule.Words.Length ? rule.Words[i + 1] : "", packet, fate, not);
            i += word == "--tcp-flags" ? 2 : 1;
            if (!holds) { return false; }
            not = false;
        }
        return true;
    }

    private static bool Holds(string option, string value, Packet p, Fate fate, bool not) => option switch
    {
        "-s" => IPNetwork.Parse(value).Contains(IPAddress.Parse(p.Source)) != not,
        "-d" => IPNetwork.Parse(value).Contains(IPAddress.Parse(p.Destination)) != not,
        "-i" => (p.Hook == "PREROUTING" && p.Interface == value) != not,
        "-o" => (p.Hook == "OUTPUT" && p.Interface == value) != not,
        "-p" => (p.Protocol == value) != not,
        "--dport" or "--dports" => value.Split(',').Any(v => InRange(p.DestinationPort, v)) != not,
        "--sport" => InRange(p.SourcePort, value) != not,
        "--tcp-flags" => p.Syn != not,
        "--dst-type" => p.ToThisHost != not,
        "--ctstate" => value.Split(',').Contains(p.State) != not,
        "--mark" => (Number(value) == fate.Mark) != not,
        "connmark" => (Number(value) == fate.ConnectionMark) != not,
        "--uid-owner" => not ? p.Uid != Number(value) : p.Uid == Number(value), // without a socket only the negation holds
        "--gid-owner" => not ? p.Gid != Number(value) : p.Gid == Number(value),
        _ => throw new InvalidOperationException($"unknown match {option}"),
    };

    private static bool InRange(ushort port, string range) => range.Split(':') is [var low, var high]
        ? port >= Number(low) && port <= Number(high) : port == Number(range);

    private static uint Number(string text) => text.StartsWith("0x", StringComparison.Ordinal)
        ? uint.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) : uint.Parse(text, CultureInfo.InvariantCulture);

    private sealed class Fate
    {
        public string? Ended { get; set; }
        public uint Mark { get; set; }
        public uint ConnectionMark { get; set; }
        public string? Zone { get; set; }
    }
}
