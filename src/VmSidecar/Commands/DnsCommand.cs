using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Commands;

/// <summary>
/// <c>vmsidecar dns NAME [TYPE]</c>: the answer this host would get, and why. Stages per name a resolver would try: 1 explain from the state folder
/// and resolv.conf; 2 ask the running agent; 3 for what goes upstream, what its cache holds and what each server answers it, in which time. Changes nothing.
/// </summary>
/// <param name="options">What the agent is configured with.</param>
/// <param name="report">The agent's own report on a name and type (<see cref="NameReport"/>); null: it cannot be asked.</param>
/// <param name="time">Measures.</param>
/// <param name="output">Where the lines go.</param>
internal sealed class DnsCommand(DnsOptions options, Func<string, string, CancellationToken, Task<JsonObject?>> report, TimeProvider time, TextWriter output)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(6); // the agent itself gives up after five

    /// <summary>0 when some name was answered with records, 1 when none was, 78 when the question is no question.</summary>
    public async Task<int> RunAsync(string name, string type, CancellationToken stop)
    {
        (DnsState state, ResolvConf conf) = LoadState();
        IReadOnlyList<byte[]> candidates = Candidates(name, state);
        if (candidates.Count == 0) { return Refuse($"'{name}' is not a DNS name. Labels have 1 to 63 characters, the whole at most 253"); }
        if (!DnsType.TryParse(type, out ushort number)) { return Refuse($"'{type}' is not a record type. Use A, AAAA, PTR, SRV, TXT, MX, CNAME, NS, SOA, HTTPS or TYPE with a number"); }
        foreach (byte[] candidate in candidates)
        {
            if (await ExplainAsync(candidate, number, Why(candidate, number, state), conf, stop)) { return 0; }
        }
        return 1;
    }

    private static IReadOnlyList<byte[]> Candidates(string name, DnsState state)
    {
        using SnapshotUse use = state.Use();
        return NameExplanation.Candidates(name, use.Snapshot.Search);
    }

    private static string Why(byte[] name, ushort type, DnsState state)
    {
        using SnapshotUse use = state.Use();
        return NameExplanation.For(use.Snapshot, name, type);
    }

    private int Refuse(string problem)
    {
        output.WriteLine(problem);
        return 78;
    }

    private async Task<bool> ExplainAsync(byte[] name, ushort type, string why, ResolvConf conf, CancellationToken stop)
    {
        output.WriteLine($"{WireName.ToText(name)} {DnsType.ToText(type)}");
        // 1
        output.WriteLine($"  why       {why}");
        bool goesUpstream = why.Contains("upstream", StringComparison.Ordinal);
        JsonObject? told = goesUpstream ? await report(WireName.ToText(name), DnsType.ToText(type), stop) : null; // first: the next question changes the cache
        // 2
        byte[] query = MakeQuery(name, type);
        bool answered = false, reached = false;
        foreach (IPEndPoint agent in options.Listen)
        {
            Asked asked = await AskAsync(agent, query, stop);
            if (asked.Reply is null && reached) { continue; } // one family is enough
            reached |= asked.Reply is not null;
            Print("agent", agent, asked);
            answered |= asked.Records.Count > 0;
            if (reached) { break; }
        }
        // 3
        if (goesUpstream && told is not null) { Print(told); }
        else if (goesUpstream) { await AskServersAsync(conf, query, stop); }
        return answered;
    }

    private void Print(JsonObject told)
    {
        string cache = told["cache"]?.ToString() ?? "";
        if (cache.Length > 0) { output.WriteLine($"  cache     {(cache == "fresh" ? "has the answer: no server was asked" : "has an answer that expired: given when no server answers in time")}"); }
        JsonArray servers = told["servers"] as JsonArray ?? [];
        foreach (JsonNode? server in servers)
        {
            if (server is not JsonObject) { continue; } // something else answered there
            string note = server["note"]?.ToString() ?? "", line = $"{server["server"]}: {server["outcome"]} in {Milliseconds(server["milliseconds"])} ms{(note.Length > 0 ? $" ({note})" : "")}";
            output.WriteLine("  upstream  " + ConsoleText.Line(line));
            foreach (JsonNode? record in server["records"] as JsonArray ?? []) { output.WriteLine("            " + ConsoleText.Line(record?.ToString() ?? "")); }
        }
        if (servers.Count == 0) { output.WriteLine($"  upstream  {options.ResolvConf} names no server"); }
    }

    private static string Milliseconds(JsonNode? value) => value is JsonValue plain && plain.TryGetValue(out double number) ? number.ToString("F1", CultureInfo.InvariantCulture) : "?";

    /// <summary>Without the agent nobody but this process can ask.</summary>
    private async Task AskServersAsync(ResolvConf conf, byte[] query, CancellationToken stop)
    {
        foreach (IPEndPoint server in conf.Servers) { Print("upstream", server, await AskAsync(server, query, stop)); }
        if (conf.Servers.IsEmpty) { output.WriteLine($"  upstream  {options.ResolvConf} names no server"); }
        else { output.WriteLine("            asked from here, as the agent's status port does not answer; capture rules, if on, bring such questions to the agent"); }
    }

    private void Print(string who, IPEndPoint where, Asked asked)
    {
        string outcome = asked.Reply is null ? asked.Problem : DnsRcode.ToText(asked.Reply[3] & DnsHeader.RcodeMask) + (asked.Records.Count == 0 ? ", no records" : "");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {who,-9} {where}: {outcome} in {asked.Took.TotalMilliseconds:F1} ms"));
        foreach (string record in asked.Records) { output.WriteLine($"            {record}"); }
    }

    /// <summary>What the agent has: its last table, its virtual IPs and the resolv.conf it follows.</summary>
    private (DnsState State, ResolvConf Conf) LoadState()
    {
        var scope = new NameScope(options.Namespace, options.Domain, options.Compat110);
        var state = new DnsState(scope);
        ResolvConf conf = ResolvConf.Empty;
        try { conf = ResolvConf.Parse(File.ReadAllText(options.ResolvConf)); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { output.WriteLine($"cannot read {options.ResolvConf}: {e.Message}"); }
        state.UseSearch(conf.SearchNames);
        if (new LastTable(options.StateDirectory, time, NullLogger.Instance).Load() is { } last && NameTableBuilder.FromNds(last.Table.Bytes, scope, out _) is { } table)
        {
            state.UseNames(table);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"name table: {table.Hosts.Count} hosts, from istiod at {last.Taken:yyyy-MM-dd HH:mm:ss}Z"));
        }
        else { output.WriteLine($"name table: none in {options.StateDirectory} (none received yet, or it may not be read by this user)"); }
        new VirtualIps(options, state, time, NullLogger.Instance).LoadLast();
        return (state, conf);
    }

    private static byte[] MakeQuery(byte[] name, ushort type)
    {
        byte[] query = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. name, (byte)(type >> 8), (byte)type, 0, 1];
        RandomNumberGenerator.Fill(query.AsSpan(0, 2));
        return query;
    }

    private async Task<Asked> AskAsync(IPEndPoint server, byte[] query, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        using var deadline = new CancellationTokenSource(Patience, time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        try
        {
            using var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            await socket.ConnectAsync(server, end.Token);
            await socket.SendAsync(query, SocketFlags.None, end.Token);
            byte[] reply = new byte[ushort.MaxValue];
            while (true)
            {
                int length = await socket.ReceiveAsync(reply.AsMemory(), SocketFlags.None, end.Token);
                if (length < DnsHeader.Size || BinaryPrimitives.ReadUInt16BigEndian(reply) != BinaryPrimitives.ReadUInt16BigEndian(query)) { continue; }
                return new(reply[..length], ReplyText.Answers(reply.AsSpan(0, length)) ?? [], "", time.GetElapsedTime(begin));
            }
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return new(null, [], "no answer", time.GetElapsedTime(begin));
        }
        catch (SocketException e)
        {
            return new(null, [], e.SocketErrorCode == SocketError.ConnectionRefused ? "nobody listens there" : e.Message, time.GetElapsedTime(begin));
        }
    }

    private sealed record Asked(byte[]? Reply, IReadOnlyList<string> Records, string Problem, TimeSpan Took);
}
