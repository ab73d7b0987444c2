using VmSidecar.Grpc;

namespace VmSidecar.Xds;

/// <summary>
/// What follows when istiod says goodbye on a connection (its age, a restart): the stream on it is ended in order after a random while, instead of being cut at the
/// end of istiod's grace, so that the next one, perhaps to another istiod, begins before this one would have died, and a thousand VMs do not come as a wave.
/// </summary>
internal static class IstiodGoodbye
{
    /// <summary>How such a stream ends: an ending to expect.</summary>
    public static GrpcStatus Status => new(GrpcStatusCode.Unavailable, "transport is closing, received prior goaway: code: NO_ERROR");

    /// <summary>Returns when it is time to leave; else ends by cancellation.</summary>
    public static async Task TimeToLeaveAsync(IGrpcClientCall istiod, XdsContext context, CancellationToken stop)
    {
        await istiod.PeerLeaves.WaitAsync(stop);
        TimeSpan wait = context.Options.LeaveWithin * Random.Shared.NextDouble();
        XdsLog.IstiodLeaves(context.Log, context.Istiod.Address, $"{wait.TotalSeconds:0.0}s");
        await Task.Delay(wait, context.Time, stop);
    }
}
