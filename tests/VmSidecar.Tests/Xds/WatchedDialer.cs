using VmSidecar.Grpc;
using VmSidecar.Xds;

namespace VmSidecar.Tests.Xds;

/// <summary>Counts the streams a relay has open to istiod, and those that something still holds on to after they were closed.</summary>
internal sealed class WatchedDialer(IIstiodDialer inner) : IIstiodDialer
{
    private readonly Lock _gate = new(); // guards _calls
    private readonly List<WeakReference<Watched>> _calls = [];
    private int _open, _dialling;

    /// <summary>Streams not disposed, and attempts that have not ended.</summary>
    public int Open => Volatile.Read(ref _open) + Volatile.Read(ref _dialling);

    /// <summary>Streams that are reachable, open or not. Exact after a full collection.</summary>
    public int Reachable
    {
        get
        {
            lock (_gate)
            {
                _calls.RemoveAll(c => !c.TryGetTarget(out _));
                return _calls.Count;
            }
        }
    }

    public string Address => inner.Address;

    public async Task<IGrpcClientCall> OpenAsync(string method, CancellationToken stop)
    {
        Interlocked.Increment(ref _dialling);
        try
        {
            var call = new Watched(await inner.OpenAsync(method, stop), this);
            Interlocked.Increment(ref _open);
            lock (_gate) { _calls.Add(new WeakReference<Watched>(call)); }
            return call;
        }
        finally { Interlocked.Decrement(ref _dialling); }
    }

    private sealed class Watched(IGrpcClientCall call, WatchedDialer owner) : IGrpcClientCall
    {
        private int _disposed;

        public GrpcStatus Status => call.Status;

        public bool EndedGracefully => call.EndedGracefully;

        public bool EndedByTransport => call.EndedByTransport;

        public Task PeerLeaves => call.PeerLeaves;

        public ValueTask<int> BeginReadAsync(CancellationToken stop) => call.BeginReadAsync(stop);

        public ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop) => call.ReadAsync(stop);

        public ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop) => call.ReadPieceAsync(buffer, stop);

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop) => call.SendAsync(message, stop);

        public ValueTask CompleteAsync(CancellationToken stop) => call.CompleteAsync(stop);

        public async ValueTask DisposeAsync()
        {
            await call.DisposeAsync();
            if (Interlocked.Exchange(ref _disposed, 1) == 0) { Interlocked.Decrement(ref owner._open); }
        }
    }
}
