using System.Globalization;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Benchmarks.Xds;

/// <summary>Delta messages as istiod 1.31 and Envoy send them: clusters of about 5 KB with mTLS matches, metadata and the metadata exchange filter.</summary>
internal static class PushMessages
{
    private const string Exchange = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange";

    /// <summary>The first request of an Envoy; Istio's build lists what istiod's filters need, a stock one does not.</summary>
    public static byte[] First(bool istiosEnvoy)
    {
        ProtoWriter node = new ProtoWriter().String(1, "sidecar~10.0.0.1~vm.ns~ns.svc.cluster.local");
        node.Message(9, new ProtoWriter().String(1, "envoy.filters.network.tcp_proxy").String(6, "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"));
        if (istiosEnvoy) { node.Message(9, new ProtoWriter().String(1, "istio.metadata_exchange").String(6, Exchange["type.googleapis.com/".Length..])); }
        return new ProtoWriter().Message(1, node).String(2, XdsTypeUrl.Cluster).ToArray();
    }

    /// <summary>One CDS response. The filter can be left out, to know the length after mending.</summary>
    public static byte[] Push(int clusters, string nonce, bool filter = true)
    {
        ProtoWriter message = new ProtoWriter().String(1, "2026-08-22T19:00:53Z/42");
        byte[] padding = new byte[4700];
        new Random(1).NextBytes(padding);
        for (int i = 0; i < clusters; i++)
        {
            string name = "outbound|80||service-" + i.ToString(CultureInfo.InvariantCulture) + ".team.svc.cluster.local";
            ProtoWriter cluster = new ProtoWriter().String(1, name).Varint(2, 3).Bytes(43, new ProtoWriter().String(1, "tlsMode-istio").Bytes(2, padding).Written.Span);
            if (filter) { cluster.Message(40, new ProtoWriter().String(1, "istio.metadata_exchange").Message(2, new ProtoWriter().String(1, Exchange).Bytes(2, "\n\u000Fistio-peer-exchange"u8))); }
            message.Message(2, new ProtoWriter().String(3, name).Message(2, new ProtoWriter().String(1, XdsTypeUrl.Cluster).Message(2, cluster)));
        }
        return message.String(4, XdsTypeUrl.Cluster).String(5, nonce).ToArray();
    }

    /// <summary>A small push: the endpoints of one cluster.</summary>
    public static byte[] Small(string nonce)
    {
        ProtoWriter message = new ProtoWriter().String(1, "2026-08-22T19:00:53Z/42");
        const string Name = "outbound|80||service-1.team.svc.cluster.local";
        message.Message(2, new ProtoWriter().String(3, Name).Message(2, new ProtoWriter().String(1, XdsTypeUrl.Endpoints).Message(2, new ProtoWriter().String(1, Name).Bytes(2, new byte[600]))));
        return message.String(4, XdsTypeUrl.Endpoints).String(5, nonce).ToArray();
    }

    /// <summary>Accepts the response with this nonce.</summary>
    public static byte[] Acknowledge(string typeUrl, string nonce) => new ProtoWriter().String(2, typeUrl).String(6, nonce).ToArray();
}
