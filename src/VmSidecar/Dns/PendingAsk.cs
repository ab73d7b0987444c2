using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Told on the receiving thread that an ask has ended. Must not block or throw.</summary>
internal interface IAskObserver
{
    /// <summary>The answer, or null when the server is unreachable. Called once at most.</summary>
    void Ended(byte[]? message);
}

/// <summary>One query on its way over one socket. Ends once: with the answer, or with null when the server is unreachable or nobody waits any more. Thread-safe.</summary>
internal sealed class PendingAsk(UpstreamSocket socket, byte[] query, DnsQuestion question, IAskObserver? observer)
{
    private readonly Lock _gate = new();
    private TaskCompletionSource<byte[]?>? _waiting;
    private byte[]? _message;

    public UpstreamSocket Socket { get; } = socket;

    /// <summary>As sent, under <see cref="Id"/>.</summary>
    public byte[] Query { get; } = query;

    public DnsQuestion Question { get; } = question;

    public ushort Id { get; set; }

    /// <summary>True once it has ended.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>Ends it; later ends change nothing.</summary>
    public void End(byte[]? message)
    {
        TaskCompletionSource<byte[]?>? waiting;
        lock (_gate)
        {
            if (HasEnded) { return; }
            HasEnded = true;
            _message = message;
            waiting = _waiting;
        }
        waiting?.TrySetResult(message);
        observer?.Ended(message);
    }

    /// <summary>The end as a task, also when it lies in the past.</summary>
    public Task<byte[]?> WaitAsync()
    {
        lock (_gate)
        {
            if (HasEnded) { return Task.FromResult(_message); }
            return (_waiting ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }
}
