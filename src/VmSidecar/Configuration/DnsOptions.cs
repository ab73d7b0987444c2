using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Dns/</c>.</summary>
internal sealed record DnsOptions
{
    /// <summary>ISTIO_META_DNS_CAPTURE or ISTIO_META_ENABLE_DNS_SERVER.</summary>
    public required bool Enabled { get; init; }

    /// <summary>UDP and TCP sockets, by default 127.0.0.1:15053 and [::1]:15053.</summary>
    public required ImmutableArray<IPEndPoint> Listen { get; init; }

    /// <summary>Followed live for upstreams and search domains.</summary>
    public required string ResolvConf { get; init; }

    /// <summary>Namespace of this workload, for short names.</summary>
    public required string Namespace { get; init; }

    /// <summary>The node's DNS domain, e.g. <c>vm-ns.svc.cluster.local</c>.</summary>
    public required string Domain { get; init; }

    /// <summary>Folder of the last table and VIP assignments.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>Whole time allowed for one forwarded query (DNS_FORWARD_TIMEOUT; 0 is two seconds): below the five seconds after which glibc asks again.</summary>
    public TimeSpan ForwardTimeout { get; init; } = TimeSpan.FromSeconds(4.5);

    /// <summary>DNS_FORWARD_PARALLEL: ask all upstreams at once.</summary>
    public bool ForwardParallel { get; init; }

    /// <summary>True for 1.10's answers where they differ (--dns-compat 1.10).</summary>
    public bool Compat110 { get; init; }

    /// <summary>How long clients may keep the addresses of a name of the table (VMSIDECAR_DNS_TTL): whole seconds.</summary>
    public TimeSpan Ttl { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The same for headless services and their members, whose addresses are those of pods (VMSIDECAR_DNS_HEADLESS_TTL; by default as <see cref="Ttl"/>).</summary>
    public TimeSpan HeadlessTtl { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A name below a search domain is answered with a CNAME to the host; else with the addresses under the queried name (VMSIDECAR_DNS_CNAME).</summary>
    public bool Aliases { get; init; } = true;

    /// <summary>How UDP sockets are read (VMSIDECAR_DNS_IO).</summary>
    public DnsIo Io { get; init; }

    /// <summary>Own virtual IPs for hosts istiod leaves without an address (VMSIDECAR_VIRTUAL_IPS).</summary>
    public VirtualIpMode VirtualIps { get; init; } = VirtualIpMode.NxDomain;

    /// <summary>Listeners of their own for plain TCP to these virtual IPs (--vip-tcp or VMSIDECAR_VIP_TCP).</summary>
    public bool VipTcp { get; init; }

    /// <summary>How long a host must be known from clusters, and unknown to the name table, before it gets one (VMSIDECAR_VIRTUAL_IP_REST).</summary>
    public TimeSpan VirtualIpRest { get; init; } = TimeSpan.FromSeconds(3);
}
