using VmSidecar.Grpc;

namespace VmSidecar.Sds;

/// <summary>
/// One SDS stream: a single loop over requests, changed secrets and the time a client is kept waiting; only this loop sends. A client that
/// asks before there is a certificate waits, as long as <see cref="Hold"/>, instead of failing. Made by SdsServer, one per call.
/// </summary>
internal sealed class SecretSession(IGrpcServerCall call, ISecretDialect dialect, SecretWatch watch, SecretMeters meters, TimeProvider time)
{
    /// <summary>Longest wait of a client for its first value. Envoy's listeners stay warming meanwhile, as they would anyway.</summary>
    public static readonly TimeSpan Hold = TimeSpan.FromSeconds(30);

    private long _owingSince;
    private bool _owing;

    /// <summary>Runs until the client leaves, breaks the protocol, or cannot be served.</summary>
    public async Task<GrpcStatus> RunAsync(CancellationToken aborted)
    {
        Task<GrpcMessage?> read = call.ReadAsync(aborted).AsTask();
        try
        {
            while (true)
            {
                Task changed = watch.Changed();
                while (dialect.NextResponse() is { } response) { await call.SendAsync(response, aborted); }
                if (Overdue(out TimeSpan left) is { } late) { return late; }
                await WaitAsync(read, changed, left, aborted);
                if (!read.IsCompleted) { continue; }
                using GrpcMessage? request = await read;
                if (request is null) { return GrpcStatus.Ok; }
                GrpcStatus? end = dialect.Take(request.Body.Span);
                meters.Requests.Add();
                if (end is { } status) { return status; }
                read = call.ReadAsync(aborted).AsTask();
            }
        }
        finally
        {
            watch.Clear();
            if (read.IsCompletedSuccessfully) { read.Result?.Dispose(); }
        }
    }

    private async Task WaitAsync(Task read, Task changed, TimeSpan left, CancellationToken aborted)
    {
        if (left == Timeout.InfiniteTimeSpan)
        {
            await Task.WhenAny(read, changed);
            return;
        }
        using var wait = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        Task limit = Task.Delay(left, time, wait.Token);
        await Task.WhenAny(read, changed, limit);
        await wait.CancelAsync();
        await limit.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>The end of a stream that has waited too long; else how long it may go on waiting.</summary>
    private GrpcStatus? Overdue(out TimeSpan left)
    {
        left = Timeout.InfiniteTimeSpan;
        if (!watch.IsOwing)
        {
            _owing = false;
            return null;
        }
        if (!_owing) { (_owing, _owingSince) = (true, time.GetTimestamp()); }
        left = Hold - time.GetElapsedTime(_owingSince);
        if (left > TimeSpan.Zero || watch.Lacking is not { } lacking) { return null; }
        return new GrpcStatus(GrpcStatusCode.Unknown, $"failed to generate secret for {lacking.Name}: {lacking.Problem}");
    }
}
