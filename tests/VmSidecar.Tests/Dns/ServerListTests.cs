using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Servers that come, leave, or stand behind another one.</summary>
public sealed class ServerListTests
{
    [Fact]
    public async Task The_servers_behind_a_stub_are_asked_only_when_it_is_gone_or_silent()
    {
        byte[]? held = null;
        await using var stub = new FakeUpstream((query, _) => { held = DnsMessages.Reply(query, 0, 0, "192.0.2.10"); return []; });
        await using FakeUpstream behind = FakeUpstream.Failing(DnsRcode.NxDomain); // knows nothing of the VPN's names
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([stub.Endpoint], [behind.Endpoint]);
        Task<DnsText> asked = lab.AskAsync("host.vpn.example");
        await stub.AskedAsync();
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(400)); // a slow stub: asked again, by itself
        time.Advance(TimeSpan.FromMilliseconds(400));
        await stub.AskedAsync();
        await stub.SendAsync(held!, stub.Seen.Last().Port);
        Assert.Equal(["host.vpn.example. 0 A 192.0.2.10"], (await asked).Answers);
        Assert.Equal(0, behind.Count);

        Task<DnsText> second = lab.AskAsync("other.vpn.example");
        foreach (int gap in (int[])[400, 800, 1000]) // silence for two seconds
        {
            await stub.AskedAsync();
            await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(gap));
            time.Advance(TimeSpan.FromMilliseconds(gap));
        }
        Assert.Equal(("NXDOMAIN", 1), ((await second).Rcode, behind.Count));
        lab.Server.Upstreams.UseServers([await ForwarderTests.ClosedPortAsync()], [behind.Endpoint]);
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("third.vpn.example")).Rcode); // at once
    }

    [Fact]
    public async Task A_server_that_leaves_resolv_conf_may_still_answer_what_it_was_asked()
    {
        byte[]? held = null;
        await using var old = new FakeUpstream((query, _) => { held = DnsMessages.Reply(query, 0, 60, "192.0.2.9"); return []; });
        await using FakeUpstream young = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([old], new ManualTimeProvider());
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await old.AskedAsync();
        lab.Server.Upstreams.UseServers([young.Endpoint]);
        Assert.Equal(["other.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("other.example.net")).Answers);
        await old.SendAsync(held!, old.Seen.First().Port);
        Assert.Equal(["www.example.net. 60 A 192.0.2.9"], (await asked).Answers);
    }

    [Fact]
    public async Task Another_link_behind_an_unchanged_stub_is_noticed()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        string etc = Directory.CreateDirectory(Path.Combine(lab.Options.StateDirectory, "etc")).FullName, conf = Path.Combine(etc, "resolv.conf");
        string behind = Path.Combine(Directory.CreateDirectory(Path.Combine(etc, "../run/systemd/resolve")).FullName, "resolv.conf");
        int changes = 0;
        var follower = new ResolvConfFollower(conf, new DnsState(new NameScope("a", "b", false)), lab.Server.Upstreams, TimeProvider.System, lab.Log) { Changed = () => changes++ };
        await File.WriteAllTextAsync(conf, "nameserver 127.0.0.53\n");
        await File.WriteAllTextAsync(behind, "nameserver 192.0.2.1\n");
        follower.Read();
        Assert.Equal(["127.0.0.53:53", "192.0.2.1:53"], Servers());
        await File.WriteAllTextAsync(behind, "nameserver 192.0.2.2\n"); // a VPN came up: resolv.conf itself stays as it is
        follower.Read();
        Assert.Equal(["127.0.0.53:53", "192.0.2.2:53"], Servers());
        follower.Read();
        Assert.Equal(2, changes); // the same again is no change
        File.Delete(behind);
        follower.Read();
        Assert.Equal(["127.0.0.53:53"], Servers());

        string[] Servers() => [.. lab.Server.Upstreams.Servers.Select(s => s.Endpoint.ToString())];
    }
}
