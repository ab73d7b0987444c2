using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Iptables/</c>: what to capture, what never, and with what. Made by <see cref="CaptureOptionsReader"/>.</summary>
internal sealed record CaptureOptions
{
    /// <summary>ISTIO_CUSTOM_IP_TABLES: the operator programs the host; apply and clean do nothing.</summary>
    public bool CustomRules { get; init; }

    public ushort ProxyPort { get; init; } = 15001;
    public ushort InboundPort { get; init; } = 15006;
    public ushort TunnelPort { get; init; } = 15008;

    /// <summary>Where the agent answers names. Not an input of the classic command.</summary>
    public ushort DnsPort { get; init; } = 15053;

    public ImmutableArray<uint> ProxyUids { get; init; } = [1337];
    public ImmutableArray<uint> ProxyGids { get; init; } = [1337];

    /// <summary>TPROXY keeps the caller's address; otherwise REDIRECT.</summary>
    public bool Tproxy { get; init; }

    public uint TproxyMark { get; init; } = 1337;
    public uint TproxyTable { get; init; } = 133;

    /// <summary>True: every inbound port but the excluded ones; else only <see cref="InboundPorts"/>.</summary>
    public bool AllInboundPorts { get; init; }

    /// <summary>Ports or ranges <c>low:high</c>.</summary>
    public ImmutableArray<string> InboundPorts { get; init; } = [];

    public ImmutableArray<string> InboundExcludedPorts { get; init; } = [];

    /// <summary>True: every destination but the excluded ones; else only <see cref="OutboundCidrs"/>.</summary>
    public bool AllOutboundCidrs { get; init; }

    public ImmutableArray<IPNetwork> OutboundCidrs { get; init; } = [];
    public ImmutableArray<IPNetwork> OutboundExcludedCidrs { get; init; } = [];
    public ImmutableArray<string> OutboundPorts { get; init; } = [];
    public ImmutableArray<string> OutboundExcludedPorts { get; init; } = [];
    public ImmutableArray<string> KubeVirtInterfaces { get; init; } = [];
    public ImmutableArray<string> ExcludedInterfaces { get; init; } = [];

    /// <summary>Bridges of container engines found on this host, left alone unless asked otherwise.</summary>
    public ImmutableArray<string> ContainerBridges { get; init; } = [];

    /// <summary>Null: everybody's traffic but <see cref="ExcludedOwnerGroups"/>; else only these groups'.</summary>
    public ImmutableArray<uint>? OwnerGroups { get; init; }

    public ImmutableArray<uint> ExcludedOwnerGroups { get; init; } = [];

    public bool RedirectDns { get; init; }
    public bool CaptureAllDns { get; init; }

    /// <summary>Conntrack zones keep the application's and the agent's queries apart; 1.10.0 had none.</summary>
    public bool DnsZones { get; init; } = true;

    public ImmutableArray<IPAddress> DnsServers { get; init; } = [];
    public bool DropInvalid { get; init; }

    /// <summary>Program ip6tables too.</summary>
    public bool IPv6 { get; init; }

    public IPNetwork Loopback { get; init; } = new(IPAddress.Loopback, 32);

    /// <summary>Rules in the shape of pilot-agent 1.10 (<c>--rules-compat 1.10</c>).</summary>
    public bool Compat110 { get; init; }

    /// <summary>The never-capture set and the guards of established connections and of forwarded traffic. Off: pilot-agent's rules and nothing else.</summary>
    public bool Safety { get; init; } = true;

    /// <summary>Inbound ports no wildcard captures: those of ssh servers, found by <see cref="SshPorts"/> unless named.</summary>
    public ImmutableArray<string> NeverInboundPorts { get; init; } = ["22"];

    /// <summary>Destinations no wildcard captures: the metadata service of the clouds, which hands out a machine's identity.</summary>
    public ImmutableArray<IPNetwork> NeverOutbound { get; init; } =
        [new(IPAddress.Parse("169.254.169.254"), 32), new(IPAddress.Parse("fd00:ec2::254"), 128)];

    public CaptureBackendKind Backend { get; init; } = CaptureBackendKind.Automatic;

    /// <summary>Lift capture when Envoy has been dead for <see cref="DeadLimit"/>; else traffic stays inside the mesh. For whoever looks after the rules.</summary>
    public bool FailOpen { get; init; }

    /// <summary>Longer than a restart of Envoy with back-off takes.</summary>
    public TimeSpan DeadLimit { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>After apply, prove the rules with a real connection (<see cref="Iptables.CaptureProbe"/>).</summary>
    public bool RunValidation { get; init; }

    /// <summary>The port that connection asks for.</summary>
    public ushort ProbePort { get; init; } = 15002;

    /// <summary>How long it may take.</summary>
    public TimeSpan ProbeTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Print, change nothing.</summary>
    public bool DryRun { get; init; }

    /// <summary>The classic command's <c>--skip-rule-apply</c>.</summary>
    public bool SkipApply { get; init; }

    /// <summary>The classic command's <c>--cleanup-only</c>.</summary>
    public bool CleanupOnly { get; init; }
}

/// <summary>Which program loads the rules into the kernel.</summary>
internal enum CaptureBackendKind
{
    /// <summary>The one the host already uses.</summary>
    Automatic,

    /// <summary>iptables over nf_tables.</summary>
    IptablesNft,

    /// <summary>iptables over its own tables.</summary>
    IptablesLegacy,

    /// <summary>nft, one table of our own.</summary>
    Nftables,
}
