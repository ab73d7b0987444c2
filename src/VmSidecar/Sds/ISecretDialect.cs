using VmSidecar.Grpc;

namespace VmSidecar.Sds;

/// <summary>What the two dialects of SDS, state of the world and delta, have to tell apart. One per stream.</summary>
internal interface ISecretDialect
{
    /// <summary>Takes one request. Null: go on; else the stream ends so.</summary>
    GrpcStatus? Take(ReadOnlySpan<byte> request);

    /// <summary>The next response, or null when there is nothing to say.</summary>
    byte[]? NextResponse();
}
