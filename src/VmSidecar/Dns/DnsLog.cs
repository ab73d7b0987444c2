using System.Net;
using Microsoft.Extensions.Logging;

namespace VmSidecar.Dns;

/// <summary>The log messages of this folder, scope <c>dns</c>.</summary>
internal static partial class DnsLog
{
    [LoggerMessage(1, LogLevel.Information, "Starting local udp DNS server on {Address}")]
    public static partial void StartingUdp(ILogger log, IPEndPoint address);

    [LoggerMessage(2, LogLevel.Information, "Starting local tcp DNS server on {Address}")]
    public static partial void StartingTcp(ILogger log, IPEndPoint address);

    [LoggerMessage(3, LogLevel.Warning, "{Address} does not exist on this host ({Reason}); DNS is served on the other addresses only")]
    public static partial void NoAddress(ILogger log, IPEndPoint address, string reason);

    [LoggerMessage(4, LogLevel.Debug, "updated lookup table with {Hosts} hosts")]
    public static partial void Updated(ILogger log, int hosts);

    [LoggerMessage(5, LogLevel.Information, "serving the last name table ({Hosts} hosts, {Age} old) until istiod sends one")]
    public static partial void LoadedLast(ILogger log, int hosts, TimeSpan age);

    [LoggerMessage(6, LogLevel.Warning, "{Path} is damaged and ignored; the next table from istiod replaces it")]
    public static partial void DamagedTable(ILogger log, string path);

    [LoggerMessage(7, LogLevel.Warning, "cannot read {Path} ({Reason}); mesh names wait for istiod")]
    public static partial void UnreadableTable(ILogger log, string path, string reason);

    [LoggerMessage(8, LogLevel.Warning, "cannot keep the name table in {Path} ({Reason}); after a restart mesh names would wait for istiod")]
    public static partial void UnwritableTable(ILogger log, string path, string reason);

    [LoggerMessage(9, LogLevel.Warning, "failed to load {Path}: {Reason}; names outside the mesh cannot be resolved until it is there")]
    public static partial void NoResolvConf(ILogger log, string path, string reason);

    [LoggerMessage(10, LogLevel.Information, "upstream DNS servers: {Servers}; search domains: {Search}")]
    public static partial void Following(ILogger log, string servers, string search);

    [LoggerMessage(11, LogLevel.Warning, "{Path} names no DNS server; names outside the mesh cannot be resolved")]
    public static partial void NoServers(ILogger log, string path);

    [LoggerMessage(12, LogLevel.Warning, "ignoring the DNS server {Server} of {Path}: it is this agent, and asking it would never end")]
    public static partial void OwnAddress(ILogger log, IPEndPoint server, string path);

    [LoggerMessage(13, LogLevel.Error, "DNS loop: the agent's own query came back to it. The capture rules do not exempt the user it runs as; run it as istio-proxy, or pass its user to 'iptables apply' with --proxy-uid")]
    public static partial void Loop(ILogger log);

    [LoggerMessage(14, LogLevel.Warning, "upstream failure: no DNS server answers ({Servers})")]
    public static partial void UpstreamsSilent(ILogger log, string servers);

    [LoggerMessage(15, LogLevel.Information, "DNS servers answer again")]
    public static partial void UpstreamsBack(ILogger log);

    [LoggerMessage(16, LogLevel.Warning, "{Path} is damaged and ignored; hosts get their virtual IPs anew")]
    public static partial void DamagedVips(ILogger log, string path);

    [LoggerMessage(17, LogLevel.Warning, "cannot read {Path} ({Reason}); hosts get their virtual IPs anew")]
    public static partial void UnreadableVips(ILogger log, string path, string reason);

    [LoggerMessage(18, LogLevel.Warning, "cannot keep the virtual IPs in {Path} ({Reason}); after a restart hosts could get others")]
    public static partial void UnwritableVips(ILogger log, string path, string reason);

    [LoggerMessage(19, LogLevel.Warning, "all {Slots} virtual IPs are taken; {Left} hosts stay without one. Narrow what the Sidecar resource lets this workload see")]
    public static partial void VipsFull(ILogger log, int slots, int left);

    [LoggerMessage(20, LogLevel.Warning, "istiod moved the virtual IP of {Host} from {From} to {To}; clients that remember the old one reach another service until its TTL ends")]
    public static partial void VipMoved(ILogger log, string host, string from, string to);

    [LoggerMessage(22, LogLevel.Error, "DNS loop: {Server} sends the agent's questions back to the agent ({Own}), so names outside the mesh fail. Give that forwarder (dnsmasq, systemd-resolved) a server other than the agent, and with CAPTURE_ALL_DNS exclude it from capture or list its own servers in resolv.conf")]
    public static partial void ServerLoops(ILogger log, IPEndPoint server, string own);

    [LoggerMessage(23, LogLevel.Information, "{Server} does not send questions back any more")]
    public static partial void LoopEnded(ILogger log, IPEndPoint server);

    [LoggerMessage(21, LogLevel.Warning, "istiod moved {Count} more virtual IPs with the same push")]
    public static partial void MoreVipsMoved(ILogger log, int count);

    [LoggerMessage(24, LogLevel.Warning, "no memory for the agent's own virtual IPs ({Reason}); those of before stay until the next change")]
    public static partial void NoMemoryForVips(ILogger log, string reason);
}
