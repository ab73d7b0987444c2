using System.Net;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wasm;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The traps of reference 03 section 16 that no other test would fall into.</summary>
public sealed class RelayTrapTests
{
    /// <summary>Trap 1: istiod ends a stream whose first message has no node, whatever made the relay speak.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task Nothing_precedes_Envoys_first_request(bool delta)
    {
        await using var bench = new RelayBench(delta, modules: new NoModules());
        bench.Health.Set(new HealthState(Healthy: false, "early"));
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        bench.Health.Set(new HealthState(Healthy: true, ""));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n1", [0xFF])); // none of it was asked for
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n2", [1]));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Extension, "e1", Hollow));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Cluster, "c1", [1]));
        Assert.Equal("c1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce); // those before it have been dealt with

        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        Assert.Equal((XdsTypeUrl.Cluster, true), await istiod.Server.ReadAsync(Talk.Requests(delta)) is var first ? (first.TypeUrl, first.HasNode) : default);
        Assert.Equal((XdsTypeUrl.NameTable, ""), await istiod.Server.ReadAsync(Talk.Requests(delta)) is var names ? (names.TypeUrl, names.Nonce) : default);
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Endpoints));
        Assert.Equal(XdsTypeUrl.Endpoints, (await istiod.Server.ReadAsync(Talk.Requests(delta))).TypeUrl);
    }

    /// <summary>Trap 2: on the next stream istiod has no record of the type yet, and a refusal without one is its end.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task An_answer_never_leaves_the_stream_that_brought_the_response(bool delta)
    {
        await using var bench = new RelayBench(delta);
        bench.Istiod.Window = 1;
        PairedCall old = bench.Envoy(delta), oldIstiod = await bench.Istiod.NextAsync();
        await old.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        await Test.UntilAsync(() => oldIstiod.Waiting == 1); // what follows waits in the relay
        await oldIstiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "old", [0xFF]));
        await bench.Log.UntilAsync(l => l.Contains("failed to unmarshal name table", StringComparison.Ordinal));

        PairedCall fresh = bench.Envoy(delta);
        await fresh.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await fresh.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Endpoints));
        foreach (string type in (string[])[XdsTypeUrl.Cluster, XdsTypeUrl.NameTable, XdsTypeUrl.Endpoints])
        {
            XdsEnvelope request = await istiod.Server.ReadAsync(Talk.Requests(delta));
            Assert.Equal((type, "", false), (request.TypeUrl, request.Nonce, request.HasError));
        }
    }

    /// <summary>Traps 6 and 10: with a bounded queue of requests all three wait for each other; and every one of them has one writer.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task Both_ends_may_say_everything_before_they_listen(bool delta)
    {
        const int Many = 500;
        await using var bench = new RelayBench(delta);
        bench.Istiod.Window = 1;
        PairedCall envoy = bench.Envoy(delta, window: 1), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Listener, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync(); // names are asked for
        Task pushes = Task.Run(async () =>
        {
            for (int i = 0; i < Many; i++)
            {
                await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, $"n{i}", [1]));
                await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Endpoints, $"e{i}", [1]));
                bench.Health.Set(new HealthState(Healthy: false, $"h{i}"));
            }
        });
        for (int i = 0; i < Many; i++) { await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, $"type.googleapis.com/envoy.{i}")); }
        for (int i = 0; i < Many; i++) { Assert.Equal($"e{i}", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce); }
        await pushes.WaitAsync(Test.Deadline);

        List<string> forwarded = [], acknowledged = [];
        while (forwarded.Count < Many || acknowledged.Count < Many)
        {
            XdsEnvelope request = await istiod.Server.ReadAsync(Talk.Requests(delta));
            if (request.TypeUrl == XdsTypeUrl.NameTable && request.Nonce.Length > 0) { acknowledged.Add(request.Nonce); }
            else if (request.TypeUrl.StartsWith("type.googleapis.com/envoy.", StringComparison.Ordinal)) { forwarded.Add(request.TypeUrl); }
        }
        Assert.Equal(Enumerable.Range(0, Many).Select(i => $"type.googleapis.com/envoy.{i}"), forwarded);
        Assert.Equal(Enumerable.Range(0, Many).Select(i => $"n{i}"), acknowledged);
    }

    /// <summary>Trap 7: istiod sends nothing, not even headers, before it has something to say.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task The_connection_is_told_before_istiod_has_said_anything(bool delta)
    {
        await using var bench = new RelayBench(delta);
        bench.Envoy(delta);
        await bench.Istiod.NextAsync();
        string line = $"Information xdsproxy connected to {(delta ? "delta " : "")}upstream XDS server: {bench.Istiod.Address}\tid=1";
        await bench.Log.UntilAsync(l => l == line);
    }

    /// <summary>Trap 8: the names of a large mesh after a long outage, and its clusters; gRPC's default is 4 MiB on either side.</summary>
    [Fact]
    public async Task More_than_four_mebibytes_pass_the_socket_both_ways_and_come_from_istiod()
    {
        byte[] request = [.. XdsMessages.Subscribe(true, XdsTypeUrl.Endpoints, Talk.Node), .. new ProtoWriter().Bytes(900, new byte[5 * 1024 * 1024]).Written.Span];
        byte[] response = Talk.Response(true, XdsTypeUrl.Endpoints, "n1", new byte[5 * 1024 * 1024]);
        await using (RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync())
        {
            await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + bench.Options.Socket));
            await using IGrpcClientCall envoy = await channel.OpenAsync(XdsMessages.DeltaMethod, [], CancellationToken.None);
            await envoy.SayAsync(request);
            PairedCall istiod = await bench.Istiod.NextAsync();
            Assert.Equal(request, await istiod.Server.ReadBytesAsync());
            await istiod.Server.SayAsync(response);
            Assert.Equal(response, await envoy.ReadBytesAsync());
        }
        var options = new GrpcServerOptions("istiod", null, new IPEndPoint(IPAddress.Loopback, 0), null, 4 * 1024 * 1024);
        using var server = new GrpcServer(options, new Dictionary<string, GrpcHandler> { [XdsMessages.DeltaMethod] = AnswerAsync }, NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        var dialer = new IstiodDialer(new PlainAccess(server.Bound!.ToString()), server.Bound.ToString(), Defaults.MaxMessage);
        await using (IGrpcClientCall call = await dialer.OpenAsync(XdsMessages.DeltaMethod, CancellationToken.None)) { Assert.Equal(response, await call.ReadBytesAsync()); }
        await server.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);

        async Task<GrpcStatus> AnswerAsync(IGrpcServerCall call, CancellationToken aborted)
        {
            await call.SendAsync(response, aborted);
            return GrpcStatus.Ok;
        }
    }

    /// <summary>Trap 21: a filter whose module has come goes to Envoy after the message that is on its way, not into it.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task A_filter_that_is_ready_waits_for_the_large_message_under_way(bool delta)
    {
        var modules = new NoModules();
        await using var bench = new RelayBench(delta, names: false, modules: modules, largeMessage: 1000);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Extension, Talk.Node));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Extension, "e1", Remote));
        await modules.Asked.Task.WaitAsync(Test.Deadline);
        int pieces = 0;
        istiod.BeforePiece = () =>
        {
            if (++pieces == 3) { modules.Came.SetResult(new WasmModuleResult("/data/m.wasm", "")); } // goes on at once, as far as it may
            return Task.CompletedTask;
        };
        byte[] large = Talk.Response(delta, XdsTypeUrl.Endpoints, "n1", new byte[50_000]);
        await istiod.Server.SayAsync(large);
        Assert.Equal(large, await envoy.Client.ReadBytesAsync());
        Assert.Equal("e1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);
    }

    private static XdsOptions Defaults => new() { Socket = "", DiscoveryAddress = "", StateDirectory = "", Node = new NodeOptions("", "", "", "", "", [], []) };

    /// <summary>A Wasm filter with neither local nor remote code: refused by the agent.</summary>
    private static byte[] Hollow => BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any(WasmConfig.HttpType, []));

    private static byte[] Remote
    {
        get
        {
            ProtoWriter uri = new ProtoWriter().String(1, "https://m.example/m").String(2, "c");
            ProtoWriter code = new ProtoWriter().Message(2, new ProtoWriter().Message(1, uri)); // AsyncDataSource.remote
            ProtoWriter vm = new ProtoWriter().String(2, "envoy.wasm.runtime.v8").Message(3, code);
            byte[] wasm = new ProtoWriter().Message(1, new ProtoWriter().Message(3, vm)).ToArray();
            return BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any(WasmConfig.HttpType, wasm));
        }
    }

    /// <summary>Modules that come when the test says so; what is asked goes on in the test's own thread.</summary>
    private sealed class NoModules : IWasmModules
    {
        public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource<WasmModuleResult> Came { get; } = new();

        public Task<WasmModuleResult> GetAsync(WasmModuleRequest request, CancellationToken stop)
        {
            Asked.TrySetResult();
            return Came.Task.WaitAsync(stop);
        }
    }

    /// <summary>An istiod without TLS or credentials.</summary>
    private sealed class PlainAccess(string target) : IIstiodAccess
    {
        public GrpcChannelOptions XdsChannel() => GrpcChannelOptions.For(target) with { MaxReceive = 1 };

        public IReadOnlyList<KeyValuePair<string, string>> XdsMetadata() => [];

        public void NoteAnswered() { }

        public void NoteLostConnection() { }

        public string ExplainRefusal(GrpcStatus status) => "";

        public bool Tell(string explanation) => true;
    }
}
