using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Faults;

/// <summary>What an ADS stream does instead of going on.</summary>
internal abstract record AdsFault
{
    /// <summary>Ends with a status.</summary>
    internal sealed record End(GrpcStatusCode Code, string Message) : AdsFault;

    /// <summary>Says nothing any more; the connection stays.</summary>
    internal sealed record Hang : AdsFault;

    /// <summary>Leaves out this answer and goes on.</summary>
    internal sealed record Drop : AdsFault;

    /// <summary>Answers later, by the double's clock.</summary>
    internal sealed record Slow(TimeSpan By) : AdsFault;

    /// <summary>A whole gRPC message that is no DiscoveryResponse, then goes on.</summary>
    internal sealed record Garbage : AdsFault;

    /// <summary>A good envelope whose resources cannot be decoded.</summary>
    internal sealed record GarbageResource : AdsFault;

    /// <summary>The TCP connection is reset.</summary>
    internal sealed record Reset : AdsFault;

    /// <summary>The answer is sent, but the connection is reset after so many bytes of it.</summary>
    internal sealed record HalfMessage(int Bytes) : AdsFault;
}
