using System.Security.Cryptography.X509Certificates;

using VmSidecar.Grpc;
using VmSidecar.Linux.Processes;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// A client's call with its first request already read, to see who it is before it is given a place. That request comes again from
/// the first read. One per call.
/// </summary>
internal sealed class XdsClient(IGrpcServerCall call, bool delta) : IGrpcServerCall, IDisposable
{
    private GrpcMessage? _first;

    /// <summary>True for a gRPC client without a proxy, else an Envoy. Valid after <see cref="MeetAsync"/>.</summary>
    public bool IsProxyless { get; private set; }

    public string Method => call.Method;

    public X509Certificate2? ClientCertificate => call.ClientCertificate;

    public string Peer => call.Peer;

    public PeerProcess Process => call.Process;

    public string? Metadata(string name) => call.Metadata(name);

    public IReadOnlyList<string> MetadataAll(string name) => call.MetadataAll(name);

    public void Goodbye() => call.Goodbye();

    public ValueTask BeginSendAsync(int length, CancellationToken stop) => call.BeginSendAsync(length, stop);

    public ValueTask SendPieceAsync(ReadOnlyMemory<byte> piece, CancellationToken stop) => call.SendPieceAsync(piece, stop);

    public void Abandon() => call.Abandon();

    public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop) => call.SendAsync(message, stop);

    public ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
    {
        if (Interlocked.Exchange(ref _first, null) is { } first) { return ValueTask.FromResult<GrpcMessage?>(first); }
        return call.ReadAsync(stop);
    }

    public void Dispose() => Interlocked.Exchange(ref _first, null)?.Dispose();

    /// <summary>Reads the first request. False when the client ends without one.</summary>
    public async Task<bool> MeetAsync(CancellationToken stop)
    {
        _first = await call.ReadAsync(stop);
        if (_first is null) { return false; }
        ReadOnlySpan<byte> message = _first.Body.Span;
        IsProxyless = XdsEnvelope.TryRead(delta ? XdsMessageKind.DeltaRequest : XdsMessageKind.Request, message, out XdsEnvelope? request) && request.HasNode && IsProxylessNode(message[request.Node]);
        return true;
    }

    /// <summary>
    /// True where a node says it is a gRPC client: by the generator that the bootstrap of such clients asks istiod for (metadata 3,
    /// GENERATOR), or by the name gRPC libraries give themselves (user_agent_name 6).
    /// </summary>
    public static bool IsProxylessNode(ReadOnlySpan<byte> node) =>
        StructValue.Text(StructValue.Find(ProtoField.Last(node, 3), "GENERATOR")) == "grpc"
        || ProtoField.Text(node, 6).StartsWith("gRPC", StringComparison.OrdinalIgnoreCase);
}
