using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Recorded responses of real istiods against what a real stock Envoy says it has, and against an Envoy of Istio's.</summary>
public sealed class ResourceMenderTests
{
    private const string Prefix = "type.googleapis.com/";

    [Theory]
    [InlineData("istiod-1.31-sotw", "istio.alpn=1 istio.metadata_exchange=18", "")]
    [InlineData("istiod-1.31-delta", "istio.alpn=1 istio.metadata_exchange=18", "")]
    [InlineData("istiod-1.10-sotw", "istio.alpn=1 istio_authn=2", "envoy.retry_host_predicates.previous_hosts=4 envoy.transport_sockets.raw_buffer=3")]
    public void A_stock_Envoy_gets_everything_it_can_load(string recorded, string removed, string configured)
    {
        var mender = ResourceMender.For(StockNode())!;
        SortedDictionary<string, int> gone = new(StringComparer.Ordinal), given = new(StringComparer.Ordinal);
        foreach ((XdsEnvelope response, byte[] bytes) in Recorded(recorded))
        {
            byte[]? mended = mender.Mend(response, bytes, out MendReport report);
            Assert.Equal(report.Changed, mended is not null);
            Add(gone, report.Removed);
            Add(given, report.Configured);
            if (mended is null) { continue; }
            Assert.True(XdsEnvelope.TryRead(response.Kind, mended, out XdsEnvelope? after));
            Assert.Equal((response.TypeUrl, response.Nonce, response.Version, response.Resources), (after.TypeUrl, after.Nonce, after.Version, after.Resources));
            string text = System.Text.Encoding.Latin1.GetString(mended);
            foreach (string type in new[] { IstioFilters.Alpn, IstioFilters.Authn, IstioFilters.PeerMetadata, IstioFilters.TcpMetadataExchange })
            {
                Assert.DoesNotContain(type, text, StringComparison.Ordinal);
            }
            Assert.Null(mender.Mend(after, mended, out _)); // nothing is left to do
        }
        Assert.Equal(removed, Words(gone));
        Assert.Equal(configured, Words(given));
    }

    [Theory]
    [InlineData("istiod-1.31-sotw")]
    [InlineData("istiod-1.31-delta")]
    [InlineData("istiod-1.10-sotw")]
    public void For_Istios_Envoy_and_for_one_that_lists_nothing_there_is_no_mender(string recorded)
    {
        byte[] istios = [.. StockNode(), .. Extension("istio.alpn", IstioFilters.Alpn), .. Extension("istio_authn", IstioFilters.Authn)];
        Assert.Null(ResourceMender.For(istios));
        Assert.Null(ResourceMender.For(Talk.Node));
        Assert.NotEmpty(Recorded(recorded));
    }

    [Theory]
    [InlineData(XdsTypeUrl.Endpoints)]
    [InlineData(XdsTypeUrl.Secret)]
    [InlineData("type.googleapis.com/envoy.future.Thing")]
    public void Other_types_are_not_looked_into(string typeUrl)
    {
        byte[] bytes = Talk.Response(false, typeUrl, "n", Listener(HttpFilter("istio.alpn", IstioFilters.Alpn)));
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.Response, bytes, out XdsEnvelope? response));
        Assert.Null(ResourceMender.For(StockNode())!.Mend(response, bytes, out _));
    }

    [Fact]
    public void What_reads_istio_authn_keeps_it()
    {
        byte[] authn = HttpFilter("istio_authn", IstioFilters.Authn);
        byte[] jwt = HttpFilter("envoy.filters.http.jwt_authn", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
        byte[] claims = HttpFilter("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", "metadata { filter: istio_authn, path: request.auth.principal }"u8.ToArray());
        byte[] peers = HttpFilter("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", "authenticated { principal_name: spiffe://... }"u8.ToArray());
        byte[] unseen = new ProtoWriter().Message(5, new ProtoWriter().String(1, "rbac").Message(5, new ProtoWriter().String(4, Prefix + "envoy.extensions.filters.http.rbac.v3.RBAC"))).ToArray();

        Assert.Equal((0, 1), Counts(authn, jwt));
        Assert.Equal((0, 1), Counts(claims, authn)); // wherever it stands in the chain
        Assert.Equal((0, 1), Counts(unseen, authn));
        Assert.Equal((1, 0), Counts(peers, authn));
        Assert.Equal((1, 0), Counts(authn));
        Assert.Equal((2, 1), Counts(authn, jwt, HttpFilter("istio.alpn", IstioFilters.Alpn), HttpFilter("istio.stats", IstioFilters.Stats))); // the others still go
    }

    [Theory]
    [InlineData("udpa.type.v1.TypedStruct")]
    [InlineData("xds.type.v3.TypedStruct")]
    public void A_filter_inside_a_TypedStruct_is_known_by_the_type_inside(string wrapper)
    {
        byte[] any = new ProtoWriter().String(1, Prefix + wrapper).Message(2, new ProtoWriter().String(1, Prefix + IstioFilters.Stats)).ToArray();
        byte[] filter = new ProtoWriter().Message(5, new ProtoWriter().String(1, "istio.stats").Bytes(4, any)).ToArray();
        Assert.Equal((1, 0), Counts(filter));
    }

    [Fact]
    public void A_filter_that_comes_by_discovery_goes_by_its_type() => Assert.Equal((1, 0), Counts(
        new ProtoWriter().Message(5, new ProtoWriter().String(1, "istio.stats").Message(5, new ProtoWriter().String(4, Prefix + IstioFilters.Stats))).ToArray()));

    [Fact]
    public void A_filter_that_is_not_on_the_list_is_never_removed() => Assert.Equal((0, 0), Counts(HttpFilter("acme.filter", "acme.Filter")));

    [Fact]
    public void Unknown_fields_around_a_removed_filter_keep_their_bytes_and_order()
    {
        byte[] before = new ProtoWriter().Bytes(3000, [1, 2, 3]).Varint(7, 5).ToArray(), after = new ProtoWriter().Bytes(3001, [4]).ToArray();
        byte[] router = HttpFilter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router");
        byte[] alpn = HttpFilter("istio.alpn", IstioFilters.Alpn);
        byte[] with = Talk.Response(false, XdsTypeUrl.Listener, "n", Listener([.. before, .. alpn, .. router, .. after]));
        byte[] without = Talk.Response(false, XdsTypeUrl.Listener, "n", Listener([.. before, .. router, .. after]));
        Assert.Equal(without, Mend(with).Mended);
    }

    [Fact]
    public void Broken_resources_pass_as_they_are_and_nothing_throws()
    {
        (XdsEnvelope response, byte[] bytes) = Recorded("istiod-1.31-sotw").First(r => r.Response.TypeUrl == XdsTypeUrl.Listener);
        var mender = ResourceMender.For(StockNode())!;
        var random = new Random(11);
        for (int i = 0; i < 3_000; i++)
        {
            byte[] copy = [.. bytes];
            for (int flips = random.Next(1, 8); flips > 0; flips--) { copy[random.Next(copy.Length)] = (byte)random.Next(256); }
            byte[]? mended = mender.Mend(response, copy, out MendReport report);
            Assert.True(mended is null || report.Changed);
        }
        for (int length = 0; length < bytes.Length; length += 7) { _ = mender.Mend(response, bytes.AsSpan(0, length), out _); }
    }

    [Theory]
    [InlineData("Error adding/updating listener(s) 0.0.0.0_80: Didn't find a registered implementation for 'acme.filter' with type URL: 'acme.Filter'", "no 'acme.filter' and it is not one that can be left out")]
    [InlineData("Error adding/updating listener(s) virtualInbound: Didn't find a registered implementation for 'istio_authn' with type URL: ''", "an access rule of the same listener reads")]
    [InlineData("something else", "")]
    public void A_refusal_names_filter_and_remedy(string error, string advice) => Assert.Contains(advice, NackAdvice.For(error), StringComparison.Ordinal);

    internal static byte[] StockNode()
    {
        byte[] bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Fixtures/envoy-1.40/sotw/00-Cluster.binpb"));
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.Request, bytes, out XdsEnvelope? request));
        return bytes[request.Node];
    }

    internal static IEnumerable<(XdsEnvelope Response, byte[] Bytes)> Recorded(string folder)
    {
        XdsMessageKind kind = folder.EndsWith("delta", StringComparison.Ordinal) ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response;
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Recorded", folder), "*.binpb").Order(StringComparer.Ordinal))
        {
            byte[] bytes = File.ReadAllBytes(file);
            Assert.True(XdsEnvelope.TryRead(kind, bytes, out XdsEnvelope? response));
            yield return (response, bytes);
        }
    }

    private static (int Removed, int Kept) Counts(params byte[][] filters)
    {
        (byte[]? mended, MendReport report) = Mend(Talk.Response(true, XdsTypeUrl.Listener, "n", Listener([.. filters.SelectMany(f => f)])), delta: true);
        Assert.Equal(report.Changed, mended is not null);
        return (report.Removed.Values.Sum(), report.Kept.Values.Sum());
    }

    private static (byte[]? Mended, MendReport Report) Mend(byte[] message, bool delta = false)
    {
        Assert.True(XdsEnvelope.TryRead(Talk.Responses(delta), message, out XdsEnvelope? response));
        return (ResourceMender.For(StockNode())!.Mend(response, message, out MendReport report), report);
    }

    /// <summary>A listener with one connection manager of these fields.</summary>
    private static byte[] Listener(byte[] manager) => new ProtoWriter().String(1, "l").Message(3, new ProtoWriter().Message(3, new ProtoWriter()
        .String(1, "envoy.filters.network.http_connection_manager")
        .Message(4, new ProtoWriter().String(1, Prefix + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager").Bytes(2, manager)))).ToArray();

    private static byte[] HttpFilter(string name, string type, byte[]? config = null) =>
        new ProtoWriter().Message(5, new ProtoWriter().String(1, name).Message(4, new ProtoWriter().String(1, Prefix + type).Bytes(2, config ?? []))).ToArray();

    private static byte[] Extension(string name, string type) => new ProtoWriter().Message(9, new ProtoWriter().String(1, name).String(6, type)).ToArray();

    private static void Add(SortedDictionary<string, int> sum, IReadOnlyDictionary<string, int> more)
    {
        foreach ((string name, int count) in more) { sum[name] = sum.GetValueOrDefault(name) + count; }
    }

    private static string Words(SortedDictionary<string, int> counts) => string.Join(' ', counts.Select(c => $"{c.Key}={c.Value}"));
}
