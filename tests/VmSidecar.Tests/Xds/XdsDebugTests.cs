using System.Text.Json.Nodes;

using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The debug pages of the relay: subscriptions, nonces and sync state per type, and the configuration as relayed.</summary>
public sealed class XdsDebugTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task Shows_per_type_what_was_asked_sent_and_answered(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Cluster, "n1", Named("c")));
        await envoy.Client.ReadBytesAsync();
        await envoy.Client.SayAsync(Request(delta, XdsTypeUrl.Cluster, "n1", error: null));
        await envoy.Client.SayAsync([.. XdsMessages.Subscribe(delta, XdsTypeUrl.Endpoints), .. new ProtoWriter().String(3, "b").String(3, "a").ToArray()]);
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Endpoints, "n2", Named("a")));
        await envoy.Client.ReadBytesAsync();
        await envoy.Client.SayAsync(Request(delta, XdsTypeUrl.Endpoints, "n2", "bad endpoint"));
        await istiod.Server.ReadBytesAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Listener));
        await istiod.Server.ReadBytesAsync();

        JsonArray types = bench.Proxy.Debug.Sync()["types"]!.AsArray();
        Assert.Equal(
            ["SYNCED n1 ", "ERROR n2 bad endpoint a,b", "NOT_SENT  "],
            types.Select(t => $"{t!["state"]} {t["nonce"]} {(t["error"]!.ToString() is { Length: > 0 } e ? e + " " : "")}{string.Join(',', t["names"]!.AsArray().Select(n => n!.ToString()))}"));
    }

    [Fact]
    public void Names_follow_both_protocols_and_are_bounded()
    {
        var names = new SubscribedNames();
        Apply(names, delta: true, sub: ["a", "b"], unsub: []);
        Apply(names, delta: true, sub: ["c"], unsub: ["a"]);
        Apply(names, delta: true, sub: [], unsub: []); // an acknowledgement
        Assert.Equal(["b", "c"], names.All);

        var sotw = new SubscribedNames();
        Apply(sotw, delta: false, sub: ["a", "b"], unsub: []);
        Apply(sotw, delta: false, sub: ["b"], unsub: []);
        Assert.Equal(["b"], sotw.All);
        Apply(sotw, delta: false, sub: [.. Enumerable.Range(0, SubscribedNames.Most + 5).Select(i => $"n{i}")], unsub: []);
        Assert.Equal((SubscribedNames.Most, true), (sotw.All.Length, sotw.IsCut));
    }

    [Fact]
    public async Task The_configuration_is_what_Envoy_accepted_byte_for_byte()
    {
        string folder = Directory.CreateTempSubdirectory("vsc-xdsd-").FullName;
        byte[] resource = Named("l");
        await using (RelayBench first = await new RelayBench(delta: true, names: false, folder: folder) { KeepFolder = true }.StartAsync())
        {
            PairedCall envoy = first.Envoy(delta: true), istiod = await first.Istiod.NextAsync();
            await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Listener, Talk.Node));
            await istiod.Server.ReadBytesAsync();
            await istiod.Server.SayAsync(new ProtoWriter().String(1, "v").Message(2, new ProtoWriter().String(3, "virtualOutbound").Message(2, new ProtoWriter().String(1, XdsTypeUrl.Listener).Bytes(2, resource)))
                .String(4, XdsTypeUrl.Listener).String(5, "n1").ToArray());
            await envoy.Client.ReadBytesAsync();
            await envoy.Client.SayAsync(Request(true, XdsTypeUrl.Listener, "n1", null));
            await istiod.Server.ReadBytesAsync();
        } // stopped: everything accepted is written
        await using var bench = new RelayBench(delta: true, names: false, folder: folder);
        byte[] any = bench.Proxy.Debug.Resource(XdsTypeUrl.Listener, "virtualOutbound")!;
        Assert.Equal(resource, ProtoField.Last(any, 2).ToArray());
        JsonNode entry = Assert.Single(bench.Proxy.Debug.Config()[XdsTypeUrl.Listener]!.AsArray())!;
        Assert.Equal(("virtualOutbound", any.Length), (entry["name"]!.ToString(), entry["bytes"]!.GetValue<int>()));
        Assert.Null(bench.Proxy.Debug.Resource("LDS", "other"));
    }

    private static byte[] Named(string name) => new ProtoWriter().String(1, name).ToArray();

    private static byte[] Request(bool delta, string type, string nonce, string? error)
    {
        ProtoWriter request = delta ? new ProtoWriter().String(2, type).String(6, nonce) : new ProtoWriter().String(1, "v7").String(4, type).String(5, nonce);
        if (!delta && type == XdsTypeUrl.Endpoints) { request.String(3, "a").String(3, "b"); }
        if (error is not null) { request.Message(delta ? 7 : 6, new ProtoWriter().Varint(1, 13).String(2, error)); }
        return request.ToArray();
    }

    private static void Apply(SubscribedNames names, bool delta, string[] sub, string[] unsub)
    {
        ProtoWriter request = new ProtoWriter().String(delta ? 2 : 4, XdsTypeUrl.Endpoints);
        foreach (string name in sub) { request.String(3, name); }
        foreach (string name in unsub) { request.String(4, name); }
        byte[] message = request.ToArray();
        Assert.True(XdsEnvelope.TryRead(Talk.Requests(delta), message, out XdsEnvelope? envelope));
        names.Apply(envelope, message);
    }
}
