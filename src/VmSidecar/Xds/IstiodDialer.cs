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
            return new DialedCall(await channel.OpenAsync(method, access.XdsMetadata(), stop), channel);
        }
        catch
        {
            await channel.DisposeAsync();
            throw;
        }
    }

    /// <summary>A call that takes its channel with it when it goes.</summary>
    private sealed class DialedCall(IGrpcClientCall call, GrpcChannel channel) : IGrpcClientCall
    {
        public GrpcStatus Status => call.Status;

        public bool EndedGracefully => call.EndedGracefully;

        public ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop) => call.ReadAsync(stop);

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop) => call.SendAsync(message, stop);

        public ValueTask CompleteAsync(CancellationToken stop) => call.CompleteAsync(stop);

        public async ValueTask DisposeAsync()
        {
            await call.DisposeAsync();
            await channel.DisposeAsync();
        }
    }
}
