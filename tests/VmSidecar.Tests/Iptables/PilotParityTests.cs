using System.Collections.Immutable;
using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The same arguments to pilot-agent and to us: the same rules with <c>--exact</c>, the same fate of any packet without, but for the differences listed here.</summary>
public sealed class PilotParityTests
{
    private const int Packets = 10_000;
    internal static readonly string[] Addresses =
    [
        "10.0.0.12", "10.0.0.12", "127.0.0.1", "127.0.0.6", "127.0.0.53", "127.0.0.2", "10.0.0.53", "10.0.0.54", "10.1.2.3", "10.200.0.1", "172.16.5.5",
        "192.0.2.5", "8.8.8.8", "203.0.113.9", "169.254.169.254",
    ];
    internal static readonly string[] Ports = ["22", "53", "80", "8080", "9090", "3306", "5432", "9000", "9001", "15001", "15006", "15008", "15020", "15021", "15053", "15090"];

    /// <summary>Every deliberate difference: which packets may meet another fate, and why.</summary>
    internal static readonly (string Reason, Func<PilotCase, Packet, bool> Applies)[] Differences =
    [
        ("sshd's port is never captured by a wildcard: with Envoy down the host would be lost. 1.10 has the rule, current relies on the exclusion list",
            (_, p) => p is { Hook: "PREROUTING", Protocol: "tcp", DestinationPort: 22 }),
        ("the metadata service is never captured: it identifies the machine, not the workload",
            (_, p) => p.Hook == "OUTPUT" && p.Destination is "169.254.169.254" or "fd00:ec2::254"),
        ("packets of connections older than the rules go on instead of being reset",
            (_, p) => p is { Protocol: "tcp", Syn: false }),
        ("forwarded packets (containers, guests) are not inbound: in the inbound listener their egress breaks",
            (_, p) => p.Hook == "PREROUTING" && !p.ToThisHost),
        ("a group member's query to a local resolver is a query, not a call for the inbound listener",
            (_, p) => p is { Hook: "OUTPUT", Interface: "lo", Protocol: "tcp", DestinationPort: 53, Gid: 1337 }),
        ("names over TCP to servers that are not captured go where their UDP goes: a resolver on this host must reach its own servers without Envoy",
            (_, p) => p is { Hook: "OUTPUT", Protocol: "tcp", DestinationPort: 53, Syn: true } and not { Uid: 1337 } and not { Gid: 1337 }),
        ("1.10 has no conntrack zones, so a reused source port sends a query the wrong way",
            (c, p) => c.Version == "1.10" && p.Protocol == "udp"),
    ];

    public static TheoryData<PilotCase> Accepted => [.. PilotCase.All.Where(c => c.Exit == 0)];

    [Theory]
    [MemberData(nameof(Accepted), DisableDiscoveryEnumeration = true)]
    public void Exact_rules_are_pilot_agents_rules(PilotCase recorded)
    {
        ImmutableArray<InstalledTable> ours = PilotCase.Load(recorded.Program(IpFamily.V4, "--exact"));
        Assert.Equal(Lines(recorded.Tables), Lines(ours));
        Assert.Empty(recorded.Program(IpFamily.V6, "--exact").Rules);
        Assert.Empty(recorded.IPv6Tables);
    }

    [Theory]
    [MemberData(nameof(Accepted), DisableDiscoveryEnumeration = true)]
    public void Any_packet_meets_the_fate_it_meets_with_pilot_agent(PilotCase recorded)
    {
        PacketWalker theirs = new(recorded.Tables), ours = new(PilotCase.Load(recorded.Program(IpFamily.V4)));
        var random = new Random(20261123);
        int compared = 0;
        for (int i = 0; i < Packets; i++)
        {
            var packet = Packet.Random(random, Addresses, Ports);
            string expected = theirs.Verdict(packet), actual = ours.Verdict(packet);
            if (expected == actual) { compared++; continue; }
            Assert.True(Differences.Any(d => d.Applies(recorded, packet)), $"{recorded}: {packet}\npilot-agent: {expected}\nours:        {actual}");
        }
        Assert.InRange(compared, Packets / 3, Packets);
    }

    [Fact]
    public void Every_difference_is_a_difference_somewhere()
    {
        var random = new Random(1);
        var seen = new HashSet<string>();
        foreach (PilotCase recorded in PilotCase.All.Where(c => c.Exit == 0))
        {
            PacketWalker theirs = new(recorded.Tables), ours = new(PilotCase.Load(recorded.Program(IpFamily.V4)));
            for (int i = 0; i < Packets; i++)
            {
                var packet = Packet.Random(random, Addresses, Ports);
                if (theirs.Verdict(packet) == ours.Verdict(packet)) { continue; }
                string[] reasons = [.. Differences.Where(d => d.Applies(recorded, packet)).Select(d => d.Reason)];
                if (reasons.Length == 1) { seen.Add(reasons[0]); }
            }
        }
        Assert.Equal(Differences.Select(d => d.Reason).Order(), seen.Order());
    }

    [Fact]
    public void Flags_that_1_10_refuses_are_newer_ones_and_accepted_here()
    {
        foreach (PilotCase refused in PilotCase.All.Where(c => c.Exit == 255)) { Assert.NotEmpty(refused.Program(IpFamily.V4).Rules); }
        Assert.All(PilotCase.All, c => Assert.True(c.Exit is 0 or 255));
    }

    private static IEnumerable<string> Lines(ImmutableArray<InstalledTable> tables) =>
        from table in tables.OrderBy(t => t.Name, StringComparer.Ordinal)
        from line in table.Chains.Order(StringComparer.Ordinal).Select(c => $":{c}").Concat(table.Rules.OrderBy(r => r.Chain, StringComparer.Ordinal).Select(r => $"-A {r.Chain} {r.Spec}"))
        select $"{table.Name} {line}";
}
