using Google.Protobuf;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod.Ads;

namespace VmSidecar.TestKit.Istiod.Peers;

/// <summary>One hand-driven ADS stream. Types are short names. A read waits at most the deadline.</summary>
internal sealed class AdsPeer(IGrpcClientCall call, bool delta) : IAsyncDisposable
{
    /// <summary>How the stream ended; valid after a read returned null.</summary>
    public GrpcStatus Status => call.Status;

    /// <summary>Sends one state-of-the-world request.</summary>
    public Task AskAsync(string type, string[]? names = null, Node? node = null, DiscoveryResponse? answers = null, string? error = null, string? nonce = null) =>
        SendAsync(new DiscoveryRequest
        {
            TypeUrl = XdsTypes.Long(type), Node = node, ResourceNames = { names ?? [] },
            VersionInfo = answers?.VersionInfo ?? "", ResponseNonce = nonce ?? answers?.Nonce ?? "",
            ErrorDetail = error is null ? null : new EnvoyApi.Rpc.Status { Code = 13, Message = error },
        });

    /// <summary>Sends one incremental request.</summary>
    public Task AskDeltaAsync(
        string type, string[]? subscribe = null, string[]? unsubscribe = null, Node? node = null, DeltaDiscoveryResponse? answers = null, string? error = null, string[]? held = null)
    {
        var request = new DeltaDiscoveryRequest
        {
            TypeUrl = XdsTypes.Long(type), Node = node, ResourceNamesSubscribe = { subscribe ?? [] }, ResourceNamesUnsubscribe = { unsubscribe ?? [] },
            ResponseNonce = answers?.Nonce ?? "", ErrorDetail = error is null ? null : new EnvoyApi.Rpc.Status { Code = 13, Message = error },
        };
        foreach (string name in held ?? []) { request.InitialResourceVersions[name] = ""; }
        return SendAsync(request);
    }

    public async Task SendAsync(IMessage request)
    {
        if (request is DiscoveryRequest == delta) { throw new InvalidOperationException("a request of the other protocol"); }
        try { await call.SendAsync(request.ToByteArray(), CancellationToken.None); }
        catch (GrpcException) { } // already ended by the server: the status says why
    }

    /// <summary>The next response, null when the stream has ended.</summary>
    public async Task<DiscoveryResponse?> NextAsync() => await NextBytesAsync() is { } bytes ? DiscoveryResponse.Parser.ParseFrom(bytes) : null;

    /// <summary>The next incremental response, null when the stream has ended.</summary>
    public async Task<DeltaDiscoveryResponse?> NextDeltaAsync() => await NextBytesAsync() is { } bytes ? DeltaDiscoveryResponse.Parser.ParseFrom(bytes) : null;

    /// <summary>Reads to the end and says how it ended.</summary>
    public async Task<GrpcStatus> EndAsync()
    {
        while (await NextBytesAsync() is not null) { }
        return call.Status;
    }

    public ValueTask DisposeAsync() => call.DisposeAsync();

    private async Task<byte[]?> NextBytesAsync()
    {
        using var deadline = new CancellationTokenSource(Test.Deadline);
        using GrpcMessage? message = await call.ReadAsync(deadline.Token);
        return message?.Body.ToArray();
    }
}
