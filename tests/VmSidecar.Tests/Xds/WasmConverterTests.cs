using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wasm;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Discovered Wasm filters with remote code: rewritten, replaced, or refused; other types are not held up (reference 03 §11, trap 21).</summary>
public sealed class WasmConverterTests
{
    private const string Uri = "https://example.test/m.wasm", Sha = "AB12";

    [Theory, InlineData(false, false), InlineData(false, true), InlineData(true, false), InlineData(true, true)]
    public async Task Remote_code_becomes_a_file_and_every_other_byte_stays(bool network, bool wrapped)
    {
        var modules = new Modules { Result = new WasmModuleResult("/data/m.wasm", "") };
        byte[] other = BuiltInWasmTests.Extension("other", BuiltInWasmTests.Any("acme.Filter", [9]));
        byte[] sent = Talk.Response(true, XdsTypeUrl.Extension, "n", other, Filter(network, wrapped, Remote(wrapped), failOpen: false));
        (byte[]? converted, string? error) = await ConvertAsync(modules, sent, delta: true);
        Assert.Null(error);
        Assert.Equal(Talk.Response(true, XdsTypeUrl.Extension, "n", other, Filter(network, wrapped, Local(wrapped), failOpen: false, metadata: false)), converted);
        WasmModuleRequest asked = Assert.Single(modules.Asked);
        Assert.Equal(("mine", Uri, "ab12", TimeSpan.FromSeconds(30)), (asked.Filter, asked.Uri, asked.Sha256, asked.Timeout));
        Assert.Equal(("pull", "Always", "v3"), (asked.PullSecret, asked.PullPolicy, asked.Version));
    }

    [Theory, InlineData(false, false), InlineData(false, true), InlineData(true, false), InlineData(true, true)]
    public async Task A_module_that_cannot_be_had_lets_all_pass_or_nothing_as_the_filter_says(bool network, bool failOpen)
    {
        var modules = new Modules { Result = new WasmModuleResult(null, "404") };
        foreach (bool wrapped in new[] { false, true })
        {
            byte[] sent = Talk.Response(false, XdsTypeUrl.Extension, "n", Filter(network, wrapped, Remote(wrapped), failOpen));
            (byte[]? converted, string? error) = await ConvertAsync(modules, sent, delta: false);
            Assert.Null(error);
            Assert.Equal(Talk.Response(false, XdsTypeUrl.Extension, "n", BuiltInWasmTests.Extension("mine", WasmRewriter.Replacement(network, failOpen))), converted);
        }
    }

    [Fact]
    public void The_stand_in_denies_by_rules_without_a_policy_and_allows_by_no_rules()
    {
        byte[] deny = ProtoField.Last(WasmRewriter.Replacement(network: false, allow: false), 2).ToArray(), allow = ProtoField.Last(WasmRewriter.Replacement(network: false, allow: true), 2).ToArray();
        Assert.Equal([0x0A, 0x00], deny); // rules { action: ALLOW }
        Assert.Empty(allow);
        Assert.Equal("wasm-default-deny", ProtoField.Text(ProtoField.Last(WasmRewriter.Replacement(network: true, allow: false), 2), 3));
    }

    [Fact]
    public async Task Local_code_and_other_filters_pass_and_code_that_is_neither_is_refused()
    {
        var modules = new Modules();
        Assert.Equal((null, null), await ConvertAsync(modules, Talk.Response(true, XdsTypeUrl.Extension, "n", Filter(false, true, Local(true), false)), true));
        Assert.Equal((null, null), await ConvertAsync(modules, Talk.Response(true, XdsTypeUrl.Extension, "n", BuiltInWasmTests.Extension("o", BuiltInWasmTests.Any("acme.wasm.v3.Wasm", []))), true));
        byte[] hollow = BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any(WasmConfig.HttpType, new ProtoWriter().Message(1, new ProtoWriter()).ToArray()));
        Assert.Contains("neither remote nor local", (await ConvertAsync(modules, Talk.Response(true, XdsTypeUrl.Extension, "n", hollow), true)).Error, StringComparison.Ordinal);
        byte[] broken = Talk.Response(true, XdsTypeUrl.Extension, "n", [0x0A, 0xFF]);
        Assert.Contains("failed to unmarshal", (await ConvertAsync(modules, broken, true)).Error, StringComparison.Ordinal);
        Assert.Empty(modules.Asked);
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_fetch_holds_only_its_own_type_and_keeps_the_order_within_it(bool delta)
    {
        var modules = new Modules { Gate = new TaskCompletionSource<WasmModuleResult>(TaskCreationOptions.RunContinuationsAsynchronously) };
        await using var bench = new RelayBench(delta, names: false, modules: modules);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Extension, Talk.Node));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Extension, "e1", Filter(false, true, Remote(true), false)));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Extension, "e2", BuiltInWasmTests.Extension("o", BuiltInWasmTests.Any("acme.Filter", []))));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Cluster, "c1", [1]));
        Assert.Equal("c1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);
        modules.Gate.SetResult(new WasmModuleResult("/data/m.wasm", ""));
        Assert.Equal("e1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);
        Assert.Equal("e2", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);
        Assert.Contains(bench.Log.Lines, l => l.Contains("a Wasm filter arrived (mine)", StringComparison.Ordinal) && l.Contains("wasm.conf", StringComparison.Ordinal));
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task What_cannot_be_read_is_refused_on_its_stream_and_never_reaches_Envoy(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false, modules: new Modules());
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Extension, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        byte[] hollow = BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any(WasmConfig.HttpType, []));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Extension, "e1", hollow));
        XdsEnvelope nack = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.Extension, "e1", 13), (nack.TypeUrl, nack.Nonce, nack.ErrorCode));
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Cluster, "c1", [1]));
        Assert.Equal("c1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);
    }

    [Fact]
    public async Task A_stream_that_ends_does_not_wait_for_a_fetch()
    {
        await using var bench = new RelayBench(delta: true, names: false, modules: new Modules { Gate = new TaskCompletionSource<WasmModuleResult>(TaskCreationOptions.RunContinuationsAsynchronously) });
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Extension, Talk.Node));
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Extension, "e1", Filter(false, false, Remote(false), false)));
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "c1", [1]));
        await envoy.Client.ReadBytesAsync();
        await envoy.Client.DisposeAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, istiod.ClientGone).WaitAsync(Test.Deadline));
    }

    private static Task<(byte[]? Converted, string? Error)> ConvertAsync(Modules modules, byte[] message, bool delta)
    {
        Assert.True(XdsEnvelope.TryRead(Talk.Responses(delta), message, out XdsEnvelope? response));
        var converter = new WasmConverter(modules, new VmSidecar.Metrics.MetricRegistry(), TimeProvider.System, new ListLog().CreateLogger("xdsproxy"));
        return converter.ConvertAsync(response, message, CancellationToken.None).WaitAsync(Test.Deadline);
    }

    /// <summary>A discovered filter called mine, with unknown fields and an environment around its code.</summary>
    private static byte[] Filter(bool network, bool wrapped, ProtoWriter code, bool failOpen, bool metadata = true)
    {
        string type = network ? WasmConfig.NetworkType : WasmConfig.HttpType;
        (string, string)[] environment = metadata
            ? [("KEEP", "k"), ("ISTIO_META_WASM_IMAGE_PULL_SECRET", "pull"), ("ISTIO_META_WASM_IMAGE_PULL_POLICY", "Always"), ("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION", "v3")]
            : [("KEEP", "k")];
        if (!wrapped)
        {
            ProtoWriter pairs = new();
            foreach ((string key, string value) in environment) { pairs.Message(2, new ProtoWriter().String(1, key).String(2, value)); }
            ProtoWriter vm = new ProtoWriter().String(1, "id").String(2, "envoy.wasm.runtime.v8").Message(3, code).Message(7, pairs).Bytes(900, [1]);
            ProtoWriter plugin = new ProtoWriter().String(1, "p").Message(3, vm).Bytes(4, [2]);
            if (failOpen) { plugin.Varint(7, 3); }
            return BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any(type, new ProtoWriter().Message(1, plugin).ToArray()));
        }
        ProtoWriter values = new();
        foreach ((string key, string value) in environment) { values.Message(1, BuiltInWasmTests.Pair(key, Text(value))); }
        ProtoWriter fields = new ProtoWriter().Message(1, BuiltInWasmTests.Pair("vm_id", Text("id"))).Message(1, BuiltInWasmTests.Pair("code", code))
            .Message(1, BuiltInWasmTests.Pair("environmentVariables", StructValue.Holding("keyValues", new ProtoWriter().Message(5, values)))); // either spelling
        ProtoWriter config = new ProtoWriter().Message(1, BuiltInWasmTests.Pair("vmConfig", new ProtoWriter().Message(5, fields)));
        if (failOpen) { config.Message(1, BuiltInWasmTests.Pair("fail_open", new ProtoWriter().Varint(4, 1))); }
        ProtoWriter wasm = new ProtoWriter().Message(1, BuiltInWasmTests.Pair("config", new ProtoWriter().Message(5, config)));
        return BuiltInWasmTests.Extension("mine", BuiltInWasmTests.Any("xds.type.v3.TypedStruct", new ProtoWriter().String(1, FilterHead.TypePrefix + type).Message(2, wasm).ToArray()));
    }

    private static ProtoWriter Remote(bool wrapped)
    {
        if (!wrapped) { return new ProtoWriter().Message(2, new ProtoWriter().Message(1, new ProtoWriter().String(1, Uri).String(2, "c").Message(3, new ProtoWriter().Varint(1, 30))).String(2, Sha)); }
        ProtoWriter http = new ProtoWriter().Message(1, BuiltInWasmTests.Pair("uri", Text(Uri))).Message(1, BuiltInWasmTests.Pair("timeout", Text("30s")));
        ProtoWriter remote = new ProtoWriter().Message(1, BuiltInWasmTests.Pair("http_uri", new ProtoWriter().Message(5, http))).Message(1, BuiltInWasmTests.Pair("sha256", Text(Sha)));
        return StructValue.Holding("remote", new ProtoWriter().Message(5, remote));
    }

    private static ProtoWriter Local(bool wrapped) => wrapped
        ? StructValue.Holding("local", StructValue.Holding("filename", Text("/data/m.wasm")))
        : new ProtoWriter().Message(1, new ProtoWriter().String(1, "/data/m.wasm"));

    private static ProtoWriter Text(string value) => new ProtoWriter().String(3, value);

    internal sealed class Modules : IWasmModules
    {
        public List<WasmModuleRequest> Asked { get; } = [];

        public WasmModuleResult Result { get; init; } = new(null, "none");

        /// <summary>Holds every fetch until it has a result.</summary>
        public TaskCompletionSource<WasmModuleResult>? Gate { get; init; }

        public Task<WasmModuleResult> GetAsync(WasmModuleRequest request, CancellationToken stop)
        {
            Asked.Add(request);
            return Gate is null ? Task.FromResult(Result) : Gate.Task.WaitAsync(stop);
        }
    }
}
