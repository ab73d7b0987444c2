using System.Net;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The name tables that real istiods sent, taken as they came and asked for every host in them.</summary>
public sealed class RecordedTablesTests
{
    [Theory]
    [InlineData("istiod-1.10-sotw", false)]
    [InlineData("istiod-1.31-sotw", false)]
    [InlineData("istiod-1.31-delta", true)]
    public async Task Every_host_is_answered_with_each_of_its_addresses(string recording, bool delta)
    {
        byte[] response = await File.ReadAllBytesAsync(Path.Combine(AppContext.BaseDirectory, "Recorded", recording, "04-NameTable.binpb"));
        Assert.True(XdsEnvelope.TryRead(delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response, response, out XdsEnvelope? envelope));
        byte[] table = response[envelope.FirstResource];
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.Refused);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { Namespace = "vm-ns", Domain = "vm-ns.svc.cluster.local" });
        Assert.Null(lab.Server.Names.Accept(table));
        int hosts = 0;
        foreach ((string name, IPAddress[] addresses) in Hosts(table))
        {
            hosts++;
            string asked = name.Replace("*", "any", StringComparison.Ordinal);
            string[] got = [.. (await lab.AskAsync(asked)).Answers, .. (await lab.AskAsync(asked, DnsType.AAAA)).Answers];
            Assert.Equal(addresses.Select(a => a.ToString()).Order(StringComparer.Ordinal), got.Select(a => a.Split(' ')[^1]).Order(StringComparer.Ordinal));
            Assert.All(got, a => Assert.StartsWith($"{asked.ToLowerInvariant()}. 30 ", a, StringComparison.Ordinal));
        }
        Assert.True(hosts >= 5);
        Assert.Equal(0, upstream.Count);
    }

    private static List<(string Name, IPAddress[] Addresses)> Hosts(byte[] table)
    {
        List<(string, IPAddress[])> hosts = [];
        var reader = new NdsReader(table);
        while (reader.TryReadHost(out NdsHost host))
        {
            List<IPAddress> addresses = [];
            var fields = new ProtoReader(host.Fields);
            while (fields.Next())
            {
                if (fields.Is(NdsHost.Ips)) { addresses.Add(IPAddress.Parse(System.Text.Encoding.ASCII.GetString(fields.Bytes))); }
            }
            hosts.Add((System.Text.Encoding.ASCII.GetString(host.Name), [.. addresses]));
        }
        return hosts;
    }
}
