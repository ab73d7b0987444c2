using VmSidecar.Grpc;
using VmSidecar.Identity;

namespace VmSidecar.Xds;

/// <summary>Opens streams to istiod over the network: one channel per stream, closed with it. Owned by <see cref="XdsProxy"/>.</summary>
internal sealed class IstiodDialer(IIstiodAccess access, string address, int maxMessage) : IIstiodDialer
{
    public string Address => address;

    public async Task<IGrpcClientCall> OpenAsync(string method, CancellationToken stop)
    {
        var channel = new GrpcChannel(access.XdsChannel() with { MaxReceive = maxMessage });
        try
        {
            return new DialedCall(await channel.OpenAsync(method, access.XdsMetadata(), stop), channel, access);
        }
        catch (GrpcException e) when (e.IsTransport && !CaFailure.IsBeforeCredentials(e.Status.Message))
        {
            access.NoteLostConnection(); // TLS 1.2 refuses a client certificate within the handshake, or just after
            await channel.DisposeAsync();
            throw;
        }
        catch
        {
            await channel.DisposeAsync();
            throw;
        }
    }

    /// <summary>A call that takes its channel with it when it goes.</summary>
    private sealed class DialedCall(IGrpcClientCall call, GrpcChannel channel, IIstiodAccess access) : IGrpcClientCall
    {
        private bool _answered;

        public GrpcStatus Status => call.Status;

        public bool EndedGracefully => call.EndedGracefully;

        public bool EndedByTransport => call.EndedByTransport;

        public Task PeerLeaves => call.PeerLeaves;

        public async ValueTask<int> BeginReadAsync(CancellationToken stop)
        {
            int length = await call.BeginReadAsync(stop);
            if (_answered) { return length; }
            if (length >= 0)
            {
                _answered = true;
                access.NoteAnswered();
            }
            else if (call.EndedByTransport) { access.NoteLostConnection(); } // TLS 1.3 refuses after the handshake
            return length;
        }

        public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop) => await BeginReadAsync(stop) < 0 ? null : await call.ReadAsync(stop);

        public ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop) => call.ReadPieceAsync(buffer, stop);

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop) => call.SendAsync(message, stop);

        public ValueTask CompleteAsync(CancellationToken stop) => call.CompleteAsync(stop);

        public async ValueTask DisposeAsync()
        {
            await call.DisposeAsync();
            await channel.DisposeAsync();
        }
    }
}
