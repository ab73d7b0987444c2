using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>
/// Telemetry as istioctl 1.10 installs it by default (reference: telemetry v2, null VM): Wasm filters whose plug-ins only Istio's Envoy
/// has, in listeners, clusters and by discovery; and what else names a filter that is gone.
/// </summary>
public sealed class BuiltInWasmTests
{
    private const string Struct = "udpa.type.v1.TypedStruct";
    private const string Router = "envoy.extensions.filters.http.router.v3.Router";

    [Theory]
    [InlineData("envoy.wasm.metadata_exchange", true, 1)]
    [InlineData("envoy.wasm.stats", true, 1)]
    [InlineData("envoy.wasm.stats", false, 1)]
    [InlineData("acme.plugin", true, 0)]
    [InlineData("acme.plugin", false, 0)]
    public void Istios_built_in_plugins_go_and_those_of_others_stay(string plugin, bool wrapped, int gone)
    {
        byte[] http = HttpFilter("istio.stats", Wasm(plugin, network: false, wrapped));
        byte[] network = new ProtoWriter().Message(3, new ProtoWriter().String(1, "istio.stats").Bytes(4, Wasm(plugin, network: true, wrapped))).ToArray();
        byte[] listener = new ProtoWriter().String(1, "l").Message(3, new ProtoWriter().Append(network).Append(Manager([.. http, .. HttpFilter("r", Any(Router, []))]))).ToArray();
        (byte[]? mended, MendReport report) = Mend(XdsTypeUrl.Listener, listener);
        Assert.Equal(2 * gone, report.Removed.GetValueOrDefault("istio.stats"));
        Assert.Equal(gone == 0, mended is null);
        if (mended is null) { return; }
        byte[] without = new ProtoWriter().String(1, "l").Message(3, new ProtoWriter().Append(Manager(HttpFilter("r", Any(Router, []))))).ToArray();
        Assert.Equal(Talk.Response(false, XdsTypeUrl.Listener, "n", without), mended);
    }

    [Fact]
    public void A_module_of_the_users_own_stays()
    {
        byte[] remote = Any(WasmConfig.HttpType, new ProtoWriter().Message(1, new ProtoWriter().Message(3, new ProtoWriter().String(2, "envoy.wasm.runtime.v8")
            .Message(3, new ProtoWriter().Message(1, new ProtoWriter().String(3, "envoy.wasm.stats"))))).ToArray());
        Assert.Null(Mend(XdsTypeUrl.Listener, new ProtoWriter().Message(3, new ProtoWriter().Append(Manager(HttpFilter("mine", remote)))).ToArray()).Mended);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void A_discovered_filter_on_the_list_goes_with_its_resource(bool delta)
    {
        byte[] stats = Extension("istio.stats", Any(Struct, new ProtoWriter().String(1, FilterHead.TypePrefix + IstioFilters.Stats).ToArray()));
        byte[] mine = Extension("mine", Any("acme.Filter", [1]));
        (byte[]? mended, MendReport report) = Mend(XdsTypeUrl.Extension, delta, stats, mine);
        Assert.Equal(1, report.Removed["istio.stats"]);
        Assert.Equal(Talk.Response(delta, XdsTypeUrl.Extension, "n", mine), mended);
    }

    [Theory, InlineData(false, "envoy.extensions.filters.http.rbac.v3.RBAC"), InlineData(true, "envoy.extensions.filters.network.rbac.v3.RBAC")]
    public void A_discovered_built_in_plugin_becomes_a_filter_that_lets_all_pass(bool network, string type)
    {
        (byte[]? mended, _) = Mend(XdsTypeUrl.Extension, delta: true, Extension("istio.stats", Wasm("envoy.wasm.stats", network, wrapped: true)));
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaResponse, mended, out XdsEnvelope? after));
        byte[] resource = mended![after.FirstResource];
        Assert.Equal(("istio.stats", type), (ProtoField.Text(resource, 1), FilterHead.TypeOf(ProtoField.Last(resource, 2))));
        Assert.False(ProtoField.Has(ProtoField.Last(ProtoField.Last(resource, 2), 2), 1)); // no rules: nothing is denied
    }

    [Fact]
    public void A_cluster_loses_them_on_the_way_to_the_upstream_too()
    {
        byte[] filters = new ProtoWriter()
            .Message(6, new ProtoWriter().String(1, "istio.metadata_exchange").Bytes(4, Any(IstioFilters.PeerMetadata, [])))
            .Message(6, new ProtoWriter().String(1, "codec").Bytes(4, Any("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec", []))).ToArray();
        byte[] cluster = new ProtoWriter().String(1, "c")
            .Message(36, new ProtoWriter().String(1, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions").Bytes(2, Any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", filters))).ToArray();
        (byte[]? mended, MendReport report) = Mend(XdsTypeUrl.Cluster, cluster);
        Assert.Equal(1, report.Removed["istio.metadata_exchange"]);
        Assert.Contains("upstream_codec", System.Text.Encoding.Latin1.GetString(mended!), StringComparison.Ordinal);
    }

    [Fact]
    public void What_a_route_sets_for_a_filter_that_is_gone_goes_and_the_rest_stays()
    {
        byte[] gone = new ProtoWriter().String(1, "istio.stats").Bytes(2, Any(IstioFilters.Stats, [])).ToArray();
        byte[] stays = new ProtoWriter().String(1, "envoy.filters.http.cors").Bytes(2, Any("envoy.extensions.filters.http.cors.v3.CorsPolicy", [])).ToArray();
        ProtoWriter Routes(bool whole)
        {
            ProtoWriter route = new ProtoWriter().Bytes(13, stays), host = new ProtoWriter().String(1, "h"), all = new ProtoWriter().String(1, "80");
            if (whole) { route.Bytes(13, gone); }
            host.Message(3, route);
            if (whole) { host.Bytes(15, gone); }
            all.Message(2, host);
            if (whole) { all.Bytes(16, gone); }
            return all;
        }
        (byte[]? mended, MendReport report) = Mend(XdsTypeUrl.Routes, Routes(whole: true).ToArray());
        Assert.Equal(3, report.Removed["istio.stats"]);
        Assert.Equal(Talk.Response(false, XdsTypeUrl.Routes, "n", Routes(whole: false).ToArray()), mended);
    }

    [Fact]
    public void A_discovered_Wasm_filter_is_no_reason_to_keep_istio_authn()
    {
        byte[] wasm = new ProtoWriter().Message(5, new ProtoWriter().String(1, "mine").Message(5, new ProtoWriter()
            .String(4, FilterHead.TypePrefix + WasmConfig.HttpType).String(4, FilterHead.TypePrefix + "envoy.extensions.filters.http.rbac.v3.RBAC"))).ToArray();
        byte[] authn = HttpFilter("istio_authn", Any(IstioFilters.Authn, []));
        Assert.Equal(1, Mend(XdsTypeUrl.Listener, new ProtoWriter().Message(3, new ProtoWriter().Append(Manager([.. authn, .. wasm]))).ToArray()).Report.Removed["istio_authn"]);
    }

    /// <summary>A Wasm filter configuration of the null runtime, as EnvoyFilters of istioctl 1.10 write it (wrapped), or typed.</summary>
    internal static byte[] Wasm(string plugin, bool network, bool wrapped)
    {
        string type = network ? WasmConfig.NetworkType : WasmConfig.HttpType;
        if (!wrapped)
        {
            return Any(type, new ProtoWriter().Message(1, new ProtoWriter().Message(3, new ProtoWriter().String(2, "envoy.wasm.runtime.null")
                .Message(3, new ProtoWriter().Message(1, new ProtoWriter().String(3, plugin))))).ToArray());
        }
        ProtoWriter vm = new ProtoWriter()
            .Message(1, Pair("runtime", new ProtoWriter().String(3, "envoy.wasm.runtime.null")))
            .Message(1, Pair("code", StructValue.Holding("local", StructValue.Holding("inline_string", new ProtoWriter().String(3, plugin)))));
        ProtoWriter config = StructValue.Holding("vm_config", new ProtoWriter().Message(5, vm));
        return Any(Struct, new ProtoWriter().String(1, FilterHead.TypePrefix + type).Message(2, new ProtoWriter().Message(1, Pair("config", config))).ToArray());
    }

    internal static ProtoWriter Pair(string name, ProtoWriter value) => new ProtoWriter().String(1, name).Message(2, value);

    internal static byte[] Any(string type, byte[] value) => new ProtoWriter().String(1, FilterHead.TypePrefix + type).Bytes(2, value).ToArray();

    internal static byte[] Extension(string name, byte[] any) => new ProtoWriter().String(1, name).Bytes(2, any).ToArray();

    private static byte[] HttpFilter(string name, byte[] any) => new ProtoWriter().Message(5, new ProtoWriter().String(1, name).Bytes(4, any)).ToArray();

    private static byte[] Manager(byte[] fields) => new ProtoWriter().Message(3, new ProtoWriter().String(1, "envoy.filters.network.http_connection_manager")
        .Bytes(4, Any("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", fields))).ToArray();

    private static (byte[]? Mended, MendReport Report) Mend(string typeUrl, byte[] resource) => Mend(typeUrl, delta: false, resource);

    private static (byte[]? Mended, MendReport Report) Mend(string typeUrl, bool delta, params byte[][] resources)
    {
        byte[] message = Talk.Response(delta, typeUrl, "n", resources);
        Assert.True(XdsEnvelope.TryRead(Talk.Responses(delta), message, out XdsEnvelope? response));
        return (ResourceMender.For(ResourceMenderTests.StockNode())!.Mend(response, message, out MendReport report), report);
    }
}
