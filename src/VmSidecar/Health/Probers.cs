using System.Net;

using VmSidecar.Configuration;

namespace VmSidecar.Health;

/// <summary>Makes the prober of a readinessProbe.</summary>
internal static class Probers
{
    private static readonly IPAddress PassthroughV4 = new([127, 0, 0, 6]), PassthroughV6 = IPAddress.Parse("::6");

    /// <summary>One prober for the one action set; null when none is (configuration reports that).</summary>
    /// <param name="options">The probe.</param>
    /// <param name="ipv6Only">No IPv4 address on this host.</param>
    /// <param name="searchPath">PATH, for exec.</param>
    /// <param name="time">Clock.</param>
    public static IProber? For(ProbeOptions options, bool ipv6Only, string searchPath, TimeProvider time)
    {
        if (options.Http is { } http) { return new HttpProber(http, options, ipv6Only ? PassthroughV6 : PassthroughV4, time); }
        if (options.Tcp is { } tcp) { return new TcpProber(tcp, options, time); }
        if (options.Exec.Length > 0) { return new ExecProber(options.Exec, options.Timeout, searchPath, time); }
        return options.Grpc is { } grpc ? new GrpcProber(grpc, options, time) : null;
    }
}
