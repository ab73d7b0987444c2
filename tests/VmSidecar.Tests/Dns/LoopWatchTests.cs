using System.Net;
using System.Net.Sockets;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>A forwarder of the same host whose server is the agent.</summary>
public sealed class LoopWatchTests
{
    [Fact]
    public async Task A_local_forwarder_that_points_back_is_named_and_costs_nothing()
    {
        IPEndPoint? agent = null;
        await using FakeUpstream good = FakeUpstream.Answering("192.0.2.1");
        await using var forwarder = new FakeUpstream((query, _) => [Forward(query, agent!)]);
        await using DnsLab lab = await DnsLab.StartAsync(time: new ManualTimeProvider()); // nothing here may wait for a timeout
        agent = lab.Address;
        lab.Server.Upstreams.UseServers([forwarder.Endpoint, good.Endpoint]);
        lab.Server.LookForLoops();
        await Test.UntilAsync(() => lab.Log.Lines.Any(l => l.StartsWith("Error: DNS loop", StringComparison.Ordinal))); // told last
        Assert.True(lab.Server.Upstreams.Servers[0].Loops);
        string line = Assert.Single(lab.Log.Lines, l => l.StartsWith("Error: DNS loop", StringComparison.Ordinal));
        Assert.Contains($"{forwarder.Endpoint} sends", line, StringComparison.Ordinal);
        Assert.False(lab.Server.Upstreams.Servers[1].Loops);
        Assert.NotEmpty((await lab.AskAsync("www.example.net")).Answers); // the good one first

        lab.Server.Upstreams.UseServers([forwarder.Endpoint]);
        Assert.Equal("SERVFAIL", (await lab.AskAsync("again.example.net")).Rcode); // at once: the clock stands still
        Assert.Contains("istio_agent_dns_loops_total 2\n", lab.MetricsPage(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_probe_is_never_forwarded()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        Assert.Equal("SERVFAIL", (await lab.AskAsync("0011.Loop-Probe.vmsidecar.example")).Rcode);
        Assert.Equal("NOERROR", (await lab.AskAsync("loop-probe.vmsidecar.example")).Rcode);
        Assert.Equal(1, upstream.Count);
    }

    /// <summary>Asks the agent, from a port of its own and under an id of its own, as dnsmasq does.</summary>
    private static byte[] Forward(byte[] query, IPEndPoint agent)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = (int)Test.Deadline.TotalMilliseconds };
        byte[] mine = [.. query], reply = new byte[4096];
        mine[0] ^= 0x11;
        socket.SendTo(mine, agent);
        int length = socket.Receive(reply);
        reply[0] ^= 0x11;
        return reply[..length];
    }
}
