using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Finds a forwarder of this host (dnsmasq, systemd-resolved) that sends our questions back to us (reference 04 trap 17): asks each local server for
/// a name nobody else has, and sees whether the question arrives here. When the servers change, and every few minutes. Owned by <see cref="DnsServer"/>; one loop.
/// </summary>
internal sealed class LoopWatch(Forwarder forwarder, DnsMetrics metrics, TimeProvider time, ILogger log)
{
    private ImmutableArray<UpstreamServer> _due = []; // written before the mark, read after it
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    // one mark is enough
    private readonly Channel<bool> _changed = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    private readonly ConcurrentDictionary<string, bool> _asked = new(StringComparer.Ordinal); // by nonce: whether it came back

    /// <summary>The name probes end with; a reserved domain (RFC 6761) that resolvers do not answer by themselves.</summary>
    private static ReadOnlySpan<byte> Suffix => "\u000aloop-probe\u0009vmsidecar\u0007example\0"u8;

    /// <summary>Our own addresses, for the explanation.</summary>
    public string Own { get; set; } = "";

    /// <summary>Look again: the servers are others now.</summary>
    public void Look()
    {
        _due = forwarder.Servers;
        _changed.Writer.TryWrite(true);
    }

    /// <summary>True when the lower- or upper-case wire name is a probe's; then it was noted, and must not be forwarded.</summary>
    public bool Takes(ReadOnlySpan<byte> name)
    {
        if (name.Length <= Suffix.Length) { return false; }
        Span<byte> lower = stackalloc byte[WireName.MaxLength];
        lower = lower[..name.Length];
        WireName.ToLower(name, lower);
        if (!WireName.IsBelow(lower, Suffix, out int stem)) { return false; }
        string nonce = Encoding.ASCII.GetString(lower[1..stem]);
        _asked.TryUpdate(nonce, true, false);
        return true;
    }

    /// <summary>Ends by the token only.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            while (true)
            {
                bool isChange = await WaitAsync(stop);
                ImmutableArray<UpstreamServer> servers = isChange ? _due : forwarder.Servers;
                foreach (UpstreamServer server in servers.Where(s => IPAddress.IsLoopback(s.Endpoint.Address))) { await ProbeAsync(server, stop); }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    /// <summary>True after a change, false when it is time to look again all the same.</summary>
    private async Task<bool> WaitAsync(CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(Interval, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        try { return await _changed.Reader.ReadAsync(either.Token); }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested) { return false; }
    }

    private async Task ProbeAsync(UpstreamServer server, CancellationToken stop)
    {
        string nonce = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));
        byte[] query = Question(nonce);
        _asked[nonce] = false;
        using var patience = new CancellationTokenSource(Patience, time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
        if (DnsQuery.Read(query, out DnsQuery parsed) == QueryVerdict.Accepted) { await server.AskAsync(query, parsed.Question, tcp: false, end.Token); }
        bool loops = _asked.TryRemove(nonce, out bool cameBack) && cameBack;
        if (stop.IsCancellationRequested || loops == server.Loops) { return; }
        server.Loops = loops;
        if (loops) { metrics.Looped(); DnsLog.ServerLoops(log, server.Endpoint, Own); }
        else { DnsLog.LoopEnded(log, server.Endpoint); }
    }

    private static byte[] Question(string nonce) =>
        [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, (byte)nonce.Length, .. Encoding.ASCII.GetBytes(nonce), .. Suffix, 0, (byte)DnsType.A, 0, (byte)DnsClass.IN];
}
