using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>Makes and sends the responses of one stream. A generator with nothing to say sends nothing.</summary>
internal sealed class AdsWriter(AdsContext context, IGrpcServerCall call, ProxyNode node, StreamWatches watches, bool delta)
{
    private const string OldControlPlane =
        """{"Component":"istiod","ID":"istiod-1","Info":{"version":"1.10.0","revision":"unknown","golang_version":"go1.19.8","status":"unknown","tag":"unknown"}}""";

    /// <summary>Sends a type: <paramref name="names"/> null means all that is subscribed.</summary>
    public async Task SendAsync(XdsWatch watch, IReadOnlyCollection<string>? names, bool garbage, CancellationToken aborted)
    {
        bool everything = delta ? watch.Wildcard : XdsTypes.IsWildcard(watch.Type);
        IReadOnlyCollection<string>? wanted = everything ? null : names ?? [.. watch.Names];
        if (context.Source.Generate(node, watch.Type, wanted) is not { } resources) { return; }
        if (garbage) { resources = [.. resources.Select(r => r with { Resource = new Any { TypeUrl = r.Resource.TypeUrl, Value = ByteString.CopyFromUtf8("\u0007not a message") } })]; }
        string nonce = context.Version.NewNonce();
        IMessage response = delta ? Delta(watch, wanted, resources, nonce) : Sotw(watch, resources, nonce);
        watches.Sent(watch, nonce); // before the bytes: the ACK may be quicker than this loop
        await call.SendAsync(response.ToByteArray(), aborted);
        IstiodLog.Pushed(context.Options.Log, XdsTypes.Short(watch.Type), node.Name, resources.Count);
    }

    private DiscoveryResponse Sotw(XdsWatch watch, IReadOnlyList<NamedResource> resources, string nonce) => new()
    {
        VersionInfo = context.Version.Current,
        TypeUrl = watch.Type,
        Nonce = nonce,
        Resources = { resources.Select(r => r.Resource) },
        ControlPlane = context.Options.Version == IstiodVersion.V1_10 ? new ControlPlane { Identifier = OldControlPlane } : null,
    };

    /// <summary>What was subscribed (or asked for) and is not there any more is removed; extension configurations never are.</summary>
    private DeltaDiscoveryResponse Delta(XdsWatch watch, IReadOnlyCollection<string>? wanted, IReadOnlyList<NamedResource> resources, string nonce)
    {
        HashSet<string> made = new(resources.Select(r => r.Name), StringComparer.Ordinal);
        List<string> removed = watch.Type == XdsTypes.Extension ? [] : [.. (wanted ?? watch.Names).Where(n => !made.Contains(n)).Order(StringComparer.Ordinal)];
        if (watch.Wildcard) { watches.Change(() => watch.Names = made); }
        return new DeltaDiscoveryResponse
        {
            SystemVersionInfo = context.Version.Current,
            TypeUrl = watch.Type,
            Nonce = nonce,
            Resources = { resources.Select(r => new Resource { Name = r.Name, Resource_ = r.Resource }) },
            RemovedResources = { removed },
        };
    }
}
