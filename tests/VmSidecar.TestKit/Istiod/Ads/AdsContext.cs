using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Registration;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>What all ADS streams of one istiod share.</summary>
internal sealed record AdsContext(IstiodOptions Options, Authenticator Authenticator, WorkloadRegistry Registry, PushVersion Version, StateSignal Changed)
{
    /// <summary>Where answers come from; may be replaced while running (then push).</summary>
    public required IResourceSource Source { get; set; }

    /// <summary>Scripted misbehaviour.</summary>
    public AdsFaults Faults { get; } = new();

    /// <summary>False: streams end with <c>server is not ready to serve discovery information</c>.</summary>
    public bool IsReady { get; set; } = true;

    /// <summary>What peers did that they must never do.</summary>
    public System.Collections.Concurrent.ConcurrentQueue<string> Violations { get; } = new();

    /// <summary>Cuts the TCP connection of a peer (as in IGrpcServerCall.Peer) after so many more bytes to it.</summary>
    public Action<string, int> Cut { get; set; } = (_, _) => { };
}
