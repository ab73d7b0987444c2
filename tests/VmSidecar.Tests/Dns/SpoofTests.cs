using System.Net;
using System.Net.Sockets;
using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Answers that are not the server's, or not to the question, and what makes them hard to guess.</summary>
public sealed class SpoofTests
{
    [Fact]
    public async Task Forged_answers_are_refused()
    {
        var time = new ManualTimeProvider(); // the exchange cannot time out
        await using var liar = new FakeUpstream((query, _) =>
        {
            byte[] wrongId = DnsMessages.Reply(query, 0, 60, "198.51.100.66");
            wrongId[0] ^= 0x55;
            byte[] otherName = DnsMessages.Reply(DnsMessages.Query("evil.example.net", id: (ushort)((query[0] << 8) | query[1])), 0, 60, "198.51.100.66");
            byte[] otherType = DnsMessages.Reply(query, 0, 60, "198.51.100.66");
            otherType[DnsHeader.Size + "www.example.net".Length + 2 + 1] = 28;
            byte[] noResponse = DnsMessages.Reply(query, 0, 60, "198.51.100.66");
            noResponse[2] &= 0x7f;
            byte[] noQuestion = [query[0], query[1], 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0];
            return [wrongId, otherName, otherType, noResponse, noQuestion, [1], [], DnsMessages.Reply(query, 0, 60, "192.0.2.1")];
        });
        await using DnsLab lab = await DnsLab.StartAsync([liar], time);
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        Assert.Contains("istio_agent_dns_upstream_mismatched_total 7\n", lab.MetricsPage(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_that_is_sprayed_is_left()
    {
        var flood = Enumerable.Range(0, 64).ToArray();
        await using var liar = new FakeUpstream((query, _) => [.. flood.Select(i => Forged(query, i)), DnsMessages.Reply(query, 0, 0, "192.0.2.1")]);
        await using DnsLab lab = await DnsLab.StartAsync([liar], new ManualTimeProvider());
        for (int i = 0; i < 12; i++) { Assert.Equal([$"n{i}.example.net. 0 A 192.0.2.1"], (await lab.AskAsync($"n{i}.example.net")).Answers); }
        Assert.Equal(12, liar.Seen.Select(s => s.Port).Distinct().Count()); // four sockets in turn, none used again
    }

    private static byte[] Forged(byte[] query, int i)
    {
        byte[] forged = DnsMessages.Reply(query, 0, 60, "198.51.100.66");
        forged[0] ^= 0x80;
        forged[1] ^= (byte)(i + 1);
        return forged;
    }

    [Fact]
    public async Task Answers_from_another_address_never_arrive()
    {
        await using FakeUpstream upstream = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time, o => o with { ForwardTimeout = TimeSpan.FromSeconds(1) });
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await upstream.AskedAsync();
        (byte[] query, _, int port) = upstream.Seen.First();
        using var attacker = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp); // knows id and port, but sits elsewhere
        await attacker.SendToAsync(DnsMessages.Reply(query, 0, 60, "198.51.100.66"), SocketFlags.None, new IPEndPoint(IPAddress.Loopback, port));
        await ForwarderTests.RunClockAsync(time, asked);
        Assert.Equal("SERVFAIL", (await asked).Rcode);
    }

    [Fact]
    public async Task Ids_and_source_ports_are_random_and_outside_the_ephemeral_range()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        for (int i = 0; i < 64; i++) { await lab.AskAsync($"n{i}.example.net", id: 7); }
        Assert.True(upstream.Seen.Select(s => (s.Query[0] << 8) | s.Query[1]).Distinct().Count() > 60, "ids repeat");
        SourcePorts range = SourcePorts.Outside(await File.ReadAllTextAsync("/proc/sys/net/ipv4/ip_local_port_range"));
        Assert.All(upstream.Seen, s => Assert.InRange(s.Port, range.First, range.Last));
        Assert.InRange(upstream.Seen.Select(s => s.Port).Distinct().Count(), 2, 4);
    }

    [Theory]
    [InlineData("32768\t60999", 61000, 65535)]
    [InlineData("1024 65535", 61000, 65535)]
    [InlineData("20000 65000", 12000, 19999)]
    [InlineData("", 61000, 65535)]
    public void Source_ports_leave_the_ephemeral_range_alone(string ephemeral, int first, int last)
    {
        SourcePorts ports = SourcePorts.Outside(ephemeral);
        Assert.Equal((first, last), (ports.First, ports.Last));
        Assert.InRange(ports.Next(), first, last);
    }
}
