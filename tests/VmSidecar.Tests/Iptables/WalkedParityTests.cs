using System.Collections.Immutable;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// 10,000 packets a case through pilot-agent's rules and ours, beyond IPv4 on iptables: on native nftables, as the kernel gives our table back, and on IPv6,
/// for which pilot-agent mirrors the IPv4 set (reference 05 section 4.5).
/// </summary>
public sealed class WalkedParityTests
{
    private const int Packets = 10_000;
    private const string Server = "2001:db8::53";
    private static readonly string[] s_addresses = ["2001:db8::12", "2001:db8::12", "::1", "::6", Server, "2001:db8::54", "2001:db8:1::7", "2001:db8:2::9", "2001:db9::5", "fd00:ec2::254"];
    private static readonly CaptureHost s_dual = PilotCase.Host with { ResolvConf = $"nameserver 10.0.0.53\nnameserver 10.0.0.54\nnameserver {Server}\n" };

    public static TheoryData<PilotCase> Current => [.. PilotCase.All.Where(c => c is { Exit: 0, Version: "1.31" })];

    /// <summary>In 1.10 IPv6 has neither names nor TPROXY, and for guests of an interface a rule that is a known bug.</summary>
    public static TheoryData<PilotCase> Plain110 => [.. PilotCase.All.Where(c => c is { Exit: 0, Version: "1.10" } && !c.Arguments.Contains("--redirect-dns") && c.Name is not ("tproxy-all" or "kubevirt"))];

    [Fact]
    public async Task The_native_table_gives_any_packet_the_fate_it_meets_with_pilot_agent()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        await using NetworkNamespace host = await NetworkNamespace.CreateAsync("vsc-cap-walk");
        foreach (PilotCase recorded in PilotCase.All.Where(c => c.Exit == 0))
        {
            IptablesProgram program = recorded.Program(IpFamily.V4);
            await host.RunAsync("nft -f -", NftText.Transaction([program]));
            NftWalker native = new(await host.RunAsync("nft -s -n list table inet vmsidecar"));
            PacketWalker theirs = new(recorded.Tables), ours = new(PilotCase.Load(program));
            int compared = 0;
            foreach (Packet packet in Draw(PilotParityTests.Addresses))
            {
                string actual = native.Verdict(packet);
                Assert.True(ours.Verdict(packet) == actual, $"{recorded}: {packet}\niptables: {ours.Verdict(packet)}\nnative:   {actual}");
                compared += Compare(recorded, packet, theirs.Verdict(packet), actual);
            }
            Assert.InRange(compared, Packets / 3, Packets);
        }
    }

    [Theory]
    [MemberData(nameof(Current), DisableDiscoveryEnumeration = true)]
    public void On_ipv6_any_packet_meets_the_fate_it_meets_with_pilot_agent(PilotCase recorded)
    {
        IptablesProgram program = IptablesProgram.For(PilotCase.Options([.. recorded.Arguments, "--dual-stack"], s_dual), IpFamily.V6);
        PacketWalker theirs = new(Mirror(recorded)), ours = new(PilotCase.Load(program));
        int compared = 0;
        foreach (Packet packet in Draw(s_addresses)) { compared += Compare(recorded, packet, theirs.Verdict(packet), ours.Verdict(packet)); }
        Assert.InRange(compared, Packets / 3, Packets);
    }

    [Fact]
    public async Task On_ipv6_the_native_table_does_the_same()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        await using NetworkNamespace host = await NetworkNamespace.CreateAsync("vsc-cap-walk");
        foreach (PilotCase recorded in PilotCase.All.Where(c => c is { Exit: 0, Version: "1.31" }))
        {
            CaptureOptions options = PilotCase.Options([.. recorded.Arguments, "--dual-stack"], s_dual);
            await host.RunAsync("nft -f -", IptablesRunner.Transaction(options));
            NftWalker native = new(await host.RunAsync("nft -s -n list table inet vmsidecar"));
            PacketWalker v4 = new(PilotCase.Load(IptablesProgram.For(options, IpFamily.V4))), v6 = new(PilotCase.Load(IptablesProgram.For(options, IpFamily.V6)));
            foreach (Packet packet in Draw(s_addresses)) { Assert.True(v6.Verdict(packet) == native.Verdict(packet), $"{recorded}: {packet}\nip6tables: {v6.Verdict(packet)}\nnative:    {native.Verdict(packet)}"); }
            foreach (Packet packet in Draw(PilotParityTests.Addresses)) { Assert.True(v4.Verdict(packet) == native.Verdict(packet), $"{recorded}: {packet}\niptables: {v4.Verdict(packet)}\nnative:   {native.Verdict(packet)}"); }
        }
    }

    /// <summary>1.10 programs IPv6 only where it is the first address (reference 05 section 4.3, R7).</summary>
    [Theory]
    [MemberData(nameof(Plain110), DisableDiscoveryEnumeration = true)]
    public void An_ipv6_only_host_of_1_10_gets_the_mirrored_rules(PilotCase recorded)
    {
        CaptureHost host = PilotCase.Host with { Addresses = [IPAddress.Parse("2001:db8::12")] };
        IptablesProgram program = IptablesProgram.For(PilotCase.Options([.. recorded.Arguments, "--rules-compat", "1.10", "--exact"], host), IpFamily.V6);
        PacketWalker theirs = new(Mirror(recorded)), ours = new(PilotCase.Load(program));
        foreach (Packet packet in Draw(s_addresses)) { Assert.Equal(theirs.Verdict(packet), ours.Verdict(packet)); }
    }

    /// <summary>There, the flags for names and for TPROXY change nothing: what is left without them is what <see cref="An_ipv6_only_host_of_1_10_gets_the_mirrored_rules"/> compares.</summary>
    [Theory]
    [InlineData("--redirect-dns")]
    [InlineData("-m=TPROXY")]
    [InlineData("--redirect-dns", "-m=TPROXY")]
    public void On_ipv6_names_and_tproxy_leave_the_rules_of_1_10_as_they_are(params string[] flags)
    {
        string[] plain = ["-b", "*", "-d", "15090,15021", "-i", "*", "-u", "1337", "-g", "1337", "--rules-compat", "1.10", "--exact"];
        CaptureHost host = PilotCase.Host with { Addresses = [IPAddress.Parse("2001:db8::12")], ResolvConf = $"nameserver {Server}\n" };
        PacketWalker without = new(PilotCase.Load(IptablesProgram.For(PilotCase.Options(plain, host), IpFamily.V6)));
        IptablesProgram program = IptablesProgram.For(PilotCase.Options([.. plain, .. flags], host), IpFamily.V6);
        PacketWalker with = new(PilotCase.Load(program));
        Assert.NotEmpty(program.Rules);
        foreach (Packet packet in Draw(s_addresses)) { Assert.Equal(without.Verdict(packet), with.Verdict(packet)); }
    }

    private static int Compare(PilotCase recorded, Packet packet, string expected, string actual)
    {
        if (expected == actual) { return 1; }
        Assert.True(PilotParityTests.Differences.Any(d => d.Applies(recorded, packet)), $"{recorded}: {packet}\npilot-agent: {expected}\nours:        {actual}");
        return 0;
    }

    private static IEnumerable<Packet> Draw(string[] addresses)
    {
        var random = new Random(20261123);
        return Enumerable.Range(0, Packets).Select(_ => Packet.Random(random, addresses, PilotParityTests.Ports));
    }

    /// <summary>The second input of reference 05 section 4.5: the same lines with IPv6's loopback, passthrough source, resolvers and ranges.</summary>
    private static ImmutableArray<InstalledTable> Mirror(PilotCase recorded) =>
        [.. recorded.Tables.Select(t => t with { Rules = [.. t.Rules.SelectMany(r => Mirror(recorded, r)).DistinctBy(r => r.Chain + r.Spec)] })];

    private static IEnumerable<InstalledRule> Mirror(PilotCase recorded, InstalledRule rule)
    {
        string spec = rule.Spec.Replace("127.0.0.6/32", "::6/128", StringComparison.Ordinal).Replace("127.0.0.1/32", "::1/128", StringComparison.Ordinal)
            .Replace("10.0.0.53/32", $"{Server}/128", StringComparison.Ordinal).Replace("--on-ip 0.0.0.0", "--on-ip ::", StringComparison.Ordinal);
        bool isRange = Range(spec) is { } range && range.Contains('.', StringComparison.Ordinal);
        if (isRange && rule.Target == "ISTIO_REDIRECT")
        {
            foreach (string included in Ranges(recorded, "-i")) { yield return new(rule.Chain, $"-d {included} -j ISTIO_REDIRECT"); }
        }
        // 1.10 closes a list of ranges with "nothing else", for IPv6 only where there is a range of it.
        bool closes = recorded.Version == "1.10" && rule.Chain == "ISTIO_OUTPUT" && spec == "-j RETURN";
        if (!isRange && !(closes && !Ranges(recorded, "-i").Any())) { yield return new(rule.Chain, spec); }
        if (rule.Chain == "ISTIO_OUTPUT" && spec == "-d ::1/128 -j RETURN")
        {
            foreach (string excluded in Ranges(recorded, "-x")) { yield return new(rule.Chain, $"-d {excluded} -j RETURN"); }
        }
    }

    private static string? Range(string spec) => spec.Split(' ').SkipWhile(w => w is not ("-d" or "-s")).Skip(1).FirstOrDefault();

    private static IEnumerable<string> Ranges(PilotCase recorded, string flag)
    {
        int at = recorded.Arguments.IndexOf(flag);
        return at < 0 ? [] : recorded.Arguments[at + 1].Split(',').Where(r => r.Contains(':', StringComparison.Ordinal));
    }
}
