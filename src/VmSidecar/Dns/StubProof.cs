using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Finds out whether a stub lives that left a question unanswered: the name alone may be to blame (a domain whose servers are gone), and the servers behind the
/// stub would deny every name of the others. Asks for <c>localhost</c>, which a stub answers by itself (RFC 6761 §6.3), twice; and, while it is down, again
/// until it answers. Owned by <see cref="UpstreamServer"/>; thread-safe.
/// </summary>
internal sealed class StubProof(UpstreamHealth health, Func<byte[], DnsQuestion, CancellationToken, Task<byte[]?>> ask, TimeProvider time) : IAsyncDisposable
{
    /// <summary>How long each of two asks may take, and the pause after both.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    private const int Tries = 2; // one datagram may be lost in a burst

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stop = new();
    private Task _asking = Task.CompletedTask;
    private bool _disposed;

    private static byte[] Question() => [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. "\u0009localhost\0"u8, 0, (byte)DnsType.A, 0, (byte)DnsClass.IN];

    /// <summary>Begins, unless it is at it already.</summary>
    public void Start()
    {
        lock (_gate)
        {
            if (!_disposed && _asking.IsCompleted) { _asking = RunAsync(_stop.Token); }
        }
    }

    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_disposed) { return; }
            _disposed = true;
        }
        await _stop.CancelAsync();
        await _asking;
        _stop.Dispose();
    }

    private async Task RunAsync(CancellationToken stop)
    {
        await Task.Yield(); // who starts it holds the lock
        try
        {
            do
            {
                long begin = time.GetTimestamp();
                if (await IsAliveAsync(stop)) { health.Proven(); return; }
                health.Disproven(begin);
                await Task.Delay(Patience, time, stop);
            }
            while (health.IsDown);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    private async Task<bool> IsAliveAsync(CancellationToken stop)
    {
        byte[] query = Question();
        if (DnsQuery.Read(query, out DnsQuery parsed) != QueryVerdict.Accepted) { return false; }
        for (int i = 0; i < Tries; i++)
        {
            using var patience = new CancellationTokenSource(Patience, time);
            using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
            if (await ask(query, parsed.Question, end.Token) is not null) { return true; }
            stop.ThrowIfCancellationRequested();
            if (!end.IsCancellationRequested) { return false; } // refused
        }
        return false;
    }
}
