using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>What a scripted CA call does instead of, or on top of, signing.</summary>
internal abstract record CaScript
{
    /// <summary>Ends with this status before authentication.</summary>
    internal sealed record Fail(GrpcStatusCode Code, string Message) : CaScript;

    /// <summary>Never answers; ends when the client leaves.</summary>
    internal sealed record Hang : CaScript;

    /// <summary>Signs, then waits this long by the double's clock.</summary>
    internal sealed record Slow(TimeSpan By) : CaScript;

    /// <summary>Answers OK with only so many elements of the chain.</summary>
    internal sealed record Truncate(int Elements) : CaScript;

    /// <summary>Answers OK with bytes that are no message.</summary>
    internal sealed record Garbage : CaScript;

    /// <summary>Signs for this identity instead of the caller's.</summary>
    internal sealed record WrongIdentity(string SpiffeId) : CaScript;

    /// <summary>Signs another key than the CSR's.</summary>
    internal sealed record WrongKey : CaScript;
}
