using VmSidecar.Dns;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Sockets;
using VmSidecar.Wasm;

namespace VmSidecar.Xds;

/// <summary>What the relay exchanges with other components.</summary>
/// <param name="Access">How to reach and convince istiod.</param>
/// <param name="Health">Written by the probe; read here.</param>
/// <param name="Names">Receives name tables; null when there is no DNS server.</param>
/// <param name="Trust">Receives trust anchors; null when PCDS is off.</param>
internal sealed record XdsLinks(IIstiodAccess Access, Published<HealthState> Health, INameTableSink? Names, ITrustSink? Trust)
{
    /// <summary>A new certificate ends the wait before the next attempt of the agent's own stream; null: only time does.</summary>
    public Published<WorkloadSecrets>? Secrets { get; init; }

    /// <summary>Is shown the clusters that pass; null: nobody.</summary>
    public ClusterHosts? Clusters { get; init; }

    /// <summary>Ports of hosts with a virtual IP of the agent's, to make TCP listeners for; null: none are made.</summary>
    public Func<IReadOnlyList<VipService>>? VipServices { get; init; }

    /// <summary>Called when Envoy was started with delta and istiod does not speak it: Envoy must be started with another bootstrap. Null: nobody can.</summary>
    public Action? WrongProtocol { get; init; }

    /// <summary>Gives Wasm modules as files; null: fetched as the options say.</summary>
    public IWasmModules? Modules { get; init; }

    /// <summary>Where large messages are held; null: a folder of the state directory.</summary>
    public SpillDisk? Disk { get; init; }

    /// <summary>What the agent before this one in the process has left.</summary>
    public ListeningSockets Sockets { get; init; } = new();

    /// <summary>Opens streams to istiod; null: over the network, by <see cref="Access"/>.</summary>
    public IIstiodDialer? Dialer { get; init; }
}
