using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="DnsOptions"/>.</summary>
internal static class DnsSettings
{
    private const int UsualPort = 15053; // where the capture rules send the host's DNS

    private static readonly TimeSpan ZeroForward = TimeSpan.FromSeconds(2); // what 0 means to pilot-agent, reference 04 §1.1

    public static DnsOptions Read(SettingReader settings, HostPaths paths, NodeIdentity identity)
    {
        bool capture = settings.Bool("ISTIO_META_DNS_CAPTURE", false);
        bool server = settings.Bool("ISTIO_META_ENABLE_DNS_SERVER", false);
        string compat = settings.Flag("dns-compat", "");
        if (compat is not ("" or "1.10" or "current"))
        {
            settings.Flags.Values.TryGetValue("dns-compat", out Setting setting);
            settings.Mistake("--dns-compat", setting, "is not a version to be compatible with", "Use 1.10 or current", 0);
        }
        TimeSpan ttl = Ttl(settings, "VMSIDECAR_DNS_TTL", TimeSpan.FromSeconds(30));
        return new()
        {
            Enabled = (capture && identity.Type == "sidecar") || server,
            Listen = Listen(settings),
            ResolvConf = paths.ResolvConf,
            Namespace = identity.Namespace,
            Domain = identity.Domain,
            StateDirectory = paths.State,
            ForwardTimeout = settings.Duration("DNS_FORWARD_TIMEOUT", TimeSpan.FromSeconds(4.5)) is { Ticks: > 0 } timeout ? timeout : ZeroForward,
            ForwardParallel = settings.Bool("DNS_FORWARD_PARALLEL", false),
            Compat110 = compat == "1.10",
            Ttl = ttl,
            HeadlessTtl = Ttl(settings, "VMSIDECAR_DNS_HEADLESS_TTL", ttl),
            Aliases = settings.Bool("VMSIDECAR_DNS_CNAME", true),
            VirtualIps = Mode(settings),
            VipTcp = settings.Bool("VMSIDECAR_VIP_TCP", false) || settings.Flags["vip-tcp"] is "true",
            Io = Io(settings),
            VirtualIpRest = settings.Duration("VMSIDECAR_VIRTUAL_IP_REST", TimeSpan.FromSeconds(3)),
        };
    }

    /// <summary>An hour at most: an address that moved is reached for as long.</summary>
    private static TimeSpan Ttl(SettingReader settings, string name, TimeSpan fallback)
    {
        TimeSpan ttl = settings.Duration(name, fallback);
        settings.Environment.TryGet(name, out Setting setting);
        return ttl <= TimeSpan.FromHours(1) && ttl.Ticks % TimeSpan.TicksPerSecond == 0 ? ttl : settings.Mistake(name, setting, "is not a time to keep an answer", "Use whole seconds from 0s to 1h", fallback);
    }

    private static DnsIo Io(SettingReader settings)
    {
        const string Name = "VMSIDECAR_DNS_IO";
        string text = settings.NonEmptyText(Name, "auto");
        settings.Environment.TryGet(Name, out Setting setting);
        return text switch
        {
            "auto" => DnsIo.Auto,
            "portable" => DnsIo.Portable,
            _ => settings.Mistake(Name, setting, "is not a way to read sockets", "Use auto, or portable", DnsIo.Auto),
        };
    }

    private static VirtualIpMode Mode(SettingReader settings)
    {
        const string Name = "VMSIDECAR_VIRTUAL_IPS";
        string text = settings.NonEmptyText(Name, "nxdomain");
        settings.Environment.TryGet(Name, out Setting setting);
        return text switch
        {
            "off" => VirtualIpMode.Off,
            "nxdomain" => VirtualIpMode.NxDomain,
            "all" => VirtualIpMode.All,
            _ => settings.Mistake(Name, setting, "is not a mode of virtual IPs", "Use off, nxdomain (only where upstream does not know the name) or all", VirtualIpMode.NxDomain),
        };
    }

    private static ImmutableArray<IPEndPoint> Listen(SettingReader settings)
    {
        string address = settings.NonEmptyText("DNS_PROXY_ADDR", $"localhost:{UsualPort}");
        settings.Environment.TryGet("DNS_PROXY_ADDR", out Setting setting);
        if (!HostPort.TryParse(address, out HostPort parsed)) { return settings.Mistake("DNS_PROXY_ADDR", setting, "is not host:port", $"Write localhost:{UsualPort}", Both(UsualPort)); }
        if (parsed.Port != UsualPort)
        {
            settings.Warn("DNS_PROXY_ADDR", setting.Origin, $"the capture rules send DNS to port {UsualPort}, not to {parsed.Port}", $"Use port {UsualPort}, or point your resolver at {address}");
        }
        if (parsed.Host == "localhost") { return Both(parsed.Port); }
        return IPAddress.TryParse(parsed.Host, out IPAddress? ip)
            ? [new(ip, parsed.Port)]
            : settings.Mistake("DNS_PROXY_ADDR", setting, "does not name localhost or an IP address", $"Write localhost:{UsualPort}", Both(UsualPort));
    }

    private static ImmutableArray<IPEndPoint> Both(int port) => [new(IPAddress.Loopback, port), new(IPAddress.IPv6Loopback, port)];
}
