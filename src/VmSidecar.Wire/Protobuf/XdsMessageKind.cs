namespace VmSidecar.Wire.Protobuf;

/// <summary>The four discovery messages of envoy.service.discovery.v3.</summary>
internal enum XdsMessageKind
{
    Request,
    Response,
    DeltaRequest,
    DeltaResponse,
}
