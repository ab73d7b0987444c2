using VmSidecar.Configuration;

namespace VmSidecar.Sds;

/// <summary>The file resources in use: one feed per name, however many streams ask for it, ended with the last of them. Owned by SdsServer; thread-safe.</summary>
internal sealed class SecretFiles(HostPaths root, SecretLog log, SecretMeters meters, TimeProvider time) 
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Shared> _open = new(StringComparer.Ordinal);
    private Task _ended = Task.CompletedTask;

    /// <summary>A lease on the feed of a name; dispose it. False when the name stands for no file.</summary>
    public bool TryOpen(string name, [NotNullWhen(true)] out ISecretFeed? feed)
    {
        feed = null;
        if (!SecretFileName.TryParse(name, root, out SecretFileName? parsed)) { return false; }
        lock (_gate)
        {
            if (!_open.TryGetValue(name, out Shared? shared)) { _open[name] = shared = new Shared(new FileFeed(parsed, log, meters, time)); }
            shared.Users++;
            feed = new Lease(this, name, shared.Feed);
        }
        return true;
    }

    /// <summary>Waits until every feed has ended. Streams, and with them leases, are gone by then.</summary>
    public async Task CloseAsync()
    {
        Shared[] left;
        lock (_gate)
        {
            left = [.. _open.Values];
            _open.Clear();
        }
        await Task.WhenAll([_ended, .. left.Select(s => s.EndAsync())]);
    }

    private void Release(string name)
    {
        lock (_gate)
        {
            if (!_open.TryGetValue(name, out Shared? shared) || --shared.Users > 0) { return; }
            _open.Remove(name);
            _ended = Task.WhenAll(_ended.IsCompletedSuccessfully ? Task.CompletedTask : _ended, shared.EndAsync());
        }
    }

    /// <summary>A feed, its loop, and how many use it.</summary>
    private sealed class Shared : IDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _run;

        public Shared(FileFeed feed)
        {
            Feed = feed;
            _run = feed.RunAsync(_stop.Token);
        }

        public FileFeed Feed { get; }

        public int Users { get; set; }

        public async Task EndAsync()
        {
            await _stop.CancelAsync();
            try { await _run; }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested) { }
            Dispose();
        }

        public void Dispose()
        {
            Feed.Dispose();
            _stop.Dispose();
        }
    }

    /// <summary>One stream's use of a feed.</summary>
    private sealed class Lease(SecretFiles owner, string name, FileFeed feed) : ISecretFeed, IDisposable
    {
        private int _disposed;

        public string Problem => feed.Problem;

        public (SecretValue? Value, Task Changed) Watch() => feed.Watch();

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0) { owner.Release(name); }
        }
    }
}
