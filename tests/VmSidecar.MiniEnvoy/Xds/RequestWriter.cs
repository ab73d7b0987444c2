using Google.Protobuf;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;

namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>Requests of one ADS stream in either protocol, as Envoy words them: the node on the first message only. Used by one loop.</summary>
internal sealed class RequestWriter(IGrpcStream call, Node node, bool delta)
{
    private bool _first = true;

    /// <summary>The first request of a type on this stream: everything wanted, and what is held already.</summary>
    public Task SubscribeAsync(Subscription s, CancellationToken stop)
    {
        s.IsOpen = true;
        s.Sent = s.Names;
        if (!delta) { return SendAsync(Sotw(s, nonce: ""), stop); }
        var request = new DeltaDiscoveryRequest { TypeUrl = s.Type.Url, ResourceNamesSubscribe = { s.Names } };
        request.InitialResourceVersions.Add(s.Held);
        return SendAsync(request, stop);
    }

    /// <summary>The wanted names have changed. Nothing is sent when they have not.</summary>
    public Task ChangeAsync(Subscription s, CancellationToken stop)
    {
        if (s.Names.SetEquals(s.Sent)) { return Task.CompletedTask; }
        string[] more = [.. s.Names.Except(s.Sent)], fewer = [.. s.Sent.Except(s.Names)];
        s.Sent = s.Names;
        foreach (string name in fewer) { s.Held.Remove(name); }
        return delta
            ? SendAsync(new DeltaDiscoveryRequest { TypeUrl = s.Type.Url, ResourceNamesSubscribe = { more }, ResourceNamesUnsubscribe = { fewer } }, stop)
            : SendAsync(Sotw(s, s.Nonce), stop);
    }

    /// <summary>ACK, or NACK with the reason; then <see cref="Subscription.Version"/> is still the last good one.</summary>
    public Task AnswerAsync(Subscription s, string? error, CancellationToken stop)
    {
        EnvoyApi.Rpc.Status? detail = error is null ? null : new EnvoyApi.Rpc.Status { Code = 13, Message = error };
        if (delta) { return SendAsync(new DeltaDiscoveryRequest { TypeUrl = s.Type.Url, ResponseNonce = s.Nonce, ErrorDetail = detail }, stop); }
        DiscoveryRequest request = Sotw(s, s.Nonce);
        request.ErrorDetail = detail;
        s.Sent = s.Names;
        return SendAsync(request, stop);
    }

    private static DiscoveryRequest Sotw(Subscription s, string nonce) =>
        new() { TypeUrl = s.Type.Url, VersionInfo = s.Version, ResourceNames = { s.Names }, ResponseNonce = nonce };

    private async Task SendAsync(IMessage request, CancellationToken stop)
    {
        if (_first)
        {
            _first = false;
            if (request is DiscoveryRequest sotw) { sotw.Node = node; }
            else if (request is DeltaDiscoveryRequest incremental) { incremental.Node = node; }
        }
        await call.SendAsync(request.ToByteArray(), stop);
    }
}
