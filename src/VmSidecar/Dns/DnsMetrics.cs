using VmSidecar.Metrics;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>The counters of the DNS server: the names istio uses today, and by source, rcode and type. All series exist from zero.</summary>
internal sealed class DnsMetrics
{
    private const int Rcodes = 7; // 0..5 and all others
    private static readonly ushort[] Types = [DnsType.A, DnsType.AAAA, DnsType.PTR, DnsType.SRV, DnsType.TXT, DnsType.MX, DnsType.HTTPS];
    private static readonly double[] Seconds = [.001, .005, .01, .1, 1, 5]; // the peers' buckets

    private readonly Counter _requests, _upstreamRequests, _upstreamFailures, _mismatched, _coalesced, _loops, _tcpRefused;
    private readonly Histogram _upstreamSeconds;
    private readonly Counter[] _answers, _types;

    public DnsMetrics(MetricRegistry registry)
    {
        _requests = registry.Counter("dns_requests_total", "Total number of DNS requests.");
        _upstreamRequests = registry.Counter("dns_upstream_requests_total", "Total number of DNS requests forwarded to upstream.");
        _upstreamFailures = registry.Counter("dns_upstream_failures_total", "Total number of DNS failures to get response from upstream.");
        _upstreamSeconds = registry.Histogram("dns_upstream_request_duration_seconds", "Total time in seconds Istio takes to get DNS response from upstream.", Seconds);
        _mismatched = registry.Counter("dns_upstream_mismatched_total", "Datagrams from an upstream address that answered no open question: late, or forged.");
        _coalesced = registry.Counter("dns_coalesced_total", "Questions that joined an equal one already in flight.");
        _loops = registry.Counter("dns_loops_total", "Own upstream queries that came back to the server.");
        _tcpRefused = registry.Counter("dns_tcp_refused_total", "TCP connections closed because there were too many.");
        _answers = [.. Enum.GetValues<AnswerSource>().SelectMany(s => Enumerable.Range(0, Rcodes).Select(r => registry.Counter("dns_answers_total", "Answers by source and rcode.",
            $"source=\"{s.ToString().ToLowerInvariant()}\",rcode=\"{DnsRcode.ToText(r)}\"")))];
        _types = [.. Types.Select(DnsType.ToText).Append("other").Select(t => registry.Counter("dns_questions_total", "Questions by type.", $"type=\"{t}\""))];
        Hosts = registry.Gauge("dns_table_hosts", "Hosts in the name table in use.");
        TableTime = registry.Gauge("dns_table_timestamp_seconds", "When the name table in use came from istiod, in Unix seconds; 0: none yet.");
    }

    public Gauge Hosts { get; }

    public Gauge TableTime { get; }

    /// <summary>A query that reached the tables; what its header alone refused is counted with the answers only.</summary>
    public void Asked(ushort type)
    {
        _requests.Add();
        int slot = Array.IndexOf(Types, type);
        _types[slot < 0 ? Types.Length : slot].Add();
    }

    public void Answered(AnswerSource source, ReadOnlySpan<byte> reply)
    {
        int rcode = reply.Length > 3 ? reply[3] & DnsHeader.RcodeMask : DnsRcode.ServFail;
        _answers[(int)source * Rcodes + Math.Min(rcode, Rcodes - 1)].Add();
    }

    public void UpstreamAsked() => _upstreamRequests.Add();

    public void UpstreamFailed() => _upstreamFailures.Add();

    public void UpstreamTook(TimeSpan took) => _upstreamSeconds.Record(took.TotalSeconds);

    public void Mismatched() => _mismatched.Add();

    public void Coalesced() => _coalesced.Add();

    public void Looped() => _loops.Add();

    public void TcpRefused() => _tcpRefused.Add();
}
