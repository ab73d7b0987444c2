using VmSidecar.Health;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The few requests the agent makes itself, in both forms. Pure: no state, no I/O. Field numbers: envoy.service.discovery.v3.</summary>
internal static class XdsMessages
{
    /// <summary>StreamAggregatedResources: state of the world.</summary>
    public const string SotwMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

    /// <summary>DeltaAggregatedResources: incremental.</summary>
    public const string DeltaMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

    private const int InternalError = 13; // google.rpc.Code INTERNAL, what the classic agent puts into its NACKs and unhealthy reports

    /// <summary>Asks for all of a type. The node goes with the first message of a stream only.</summary>
    public static byte[] Subscribe(bool delta, string typeUrl, ReadOnlySpan<byte> node = default)
    {
        var request = new ProtoWriter();
        if (delta && !node.IsEmpty) { request.Bytes(1, node); }
        if (!delta && !node.IsEmpty) { request.Bytes(2, node); }
        return request.String(delta ? 2 : 4, typeUrl).ToArray();
    }

    /// <summary>Accepts a response, or refuses it when there is an error. Belongs on the stream that delivered the response and nowhere else: a NACK for a type unknown to a stream crashes istiod.</summary>
    public static byte[] Answer(bool delta, XdsEnvelope response, string? error)
    {
        var request = new ProtoWriter();
        if (delta) { request.String(2, response.TypeUrl).String(6, response.Nonce); }
        else { request.String(1, response.Version).String(4, response.TypeUrl).String(5, response.Nonce); } // the new version also when refusing: istiod reads error_detail only
        return WithError(request, delta, error).ToArray();
    }

    /// <summary>The workload's health. istiod never answers it.</summary>
    public static byte[] Health(bool delta, HealthState state)
    {
        ProtoWriter request = new ProtoWriter().String(delta ? 2 : 4, XdsTypeUrl.Health);
        return WithError(request, delta, state.Healthy ? null : state.Message).ToArray();
    }

    private static ProtoWriter WithError(ProtoWriter request, bool delta, string? error) => error is null
        ? request
        : request.Message(delta ? 7 : 6, new ProtoWriter().Varint(1, InternalError).String(2, error));
}
