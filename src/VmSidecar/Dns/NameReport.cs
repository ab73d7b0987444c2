using System.Text.Json.Nodes;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// What only the running agent can say of a question: whether its cache holds the answer, and what each server answers now. Other programs cannot ask the
/// servers themselves: the capture rules bring their questions here. The content of <c>/debug/dnsz</c>. Owned by <see cref="DnsServer"/>; thread-safe.
/// </summary>
internal sealed class NameReport(Forwarder forwarder, TimeProvider time)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    /// <summary>
    /// <c>cache</c> (<c>fresh</c>, <c>expired</c> or empty) and <c>servers</c>: each with <c>server</c>, <c>outcome</c>, <c>milliseconds</c>, <c>records</c>
    /// and <c>note</c>. Null when these are no name and type. Asks every server once, all at a time; ends within two seconds.
    /// </summary>
    public async Task<JsonObject?> ForAsync(string name, string type, CancellationToken stop)
    {
        if (WireName.Encode(name) is not { } wire || !DnsType.TryParse(type, out ushort number)) { return null; }
        byte[] query = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. wire, (byte)(number >> 8), (byte)number, 0, (byte)DnsClass.IN];
        if (DnsQuery.Read(query, out DnsQuery parsed) != QueryVerdict.Accepted) { return null; }
        string cache = Cached(query, parsed);
        JsonNode[] servers = await Task.WhenAll(forwarder.Servers.Select(server => AskAsync(server, query, parsed, stop)));
        return new JsonObject { ["cache"] = cache, ["servers"] = new JsonArray(servers) };
    }

    private string Cached(byte[] query, DnsQuery parsed)
    {
        if (forwarder.Cache.IsFresh(query, parsed)) { return "fresh"; }
        return QuestionKey.For(query, parsed, tcp: false) is { } key && forwarder.Cache.FindStale(key) is not null ? "expired" : "";
    }

    private async Task<JsonNode> AskAsync(UpstreamServer server, byte[] query, DnsQuery parsed, CancellationToken stop)
    {
        string note = server.Loops ? "sends our questions back to us" : server.Health.IsDown ? "taken for dead until now" : server.IsFallback ? "asked only when the others are gone or silent" : "";
        long begin = time.GetTimestamp();
        using var patience = new CancellationTokenSource(Patience, time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
        AskResult asked = await server.AskAsync((byte[])query.Clone(), parsed.Question, tcp: false, end.Token);
        IReadOnlyList<string> records = asked.Message is null ? [] : ReplyText.Answers(asked.Message) ?? [];
        string outcome = asked.Message is { Length: > 3 } message ? DnsRcode.ToText(message[3] & DnsHeader.RcodeMask) + (records.Count == 0 ? ", no records" : "")
            : asked.End == AskEnd.Unreachable ? "nobody listens there" : "no answer";
        return new JsonObject
        {
            ["server"] = server.Endpoint.ToString(), ["outcome"] = outcome, ["milliseconds"] = time.GetElapsedTime(begin).TotalMilliseconds,
            ["records"] = new JsonArray([.. records.Select(r => (JsonNode)r)]), ["note"] = note,
        };
    }
}
