using VmSidecar.Grpc;

namespace VmSidecar.Xds;

/// <summary>Why a send to istiod failed: the trailers know, the failed write does not.</summary>
internal static class FailedCall
{
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1); // trailers follow a failed send at once, if at all

    /// <summary>The status the call ended with, or <paramref name="fallback"/> where none comes in time.</summary>
    public static async Task<GrpcStatus> StatusAsync(this IGrpcClientCall call, GrpcStatus fallback, TimeProvider time, CancellationToken stop)
    {
        using var grace = new CancellationTokenSource(Grace, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(grace.Token, stop);
        try
        {
            while (await call.ReadAsync(either.Token) is { } left) { left.Dispose(); }
            return call.Status;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return fallback;
        }
    }
}
