using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>What is to be done with a query.</summary>
internal enum AnswerAction : byte
{
    /// <summary>Silence.</summary>
    Drop,

    /// <summary>The reply is written.</summary>
    Reply,

    /// <summary>Ask upstream.</summary>
    Forward,

    /// <summary>Ask upstream; where it has nothing to say, the name still exists: NODATA.</summary>
    ForwardElseEmpty,

    /// <summary>Ask upstream; where it says the name does not exist, answer with the agent's own virtual IP.</summary>
    ForwardElseVip,

    /// <summary>Ask upstream whether the name exists; unless it says no, answer from the table.</summary>
    ForwardThenTable,
}

/// <summary>Where an answer came from; the label of the metrics.</summary>
internal enum AnswerSource : byte
{
    Refused,
    Table,
    Wildcard,
    Vip,
    Upstream,
    Cache,
    Stale,
    Failed,
}

/// <summary>A decision, and the length of the reply when there is one.</summary>
internal readonly record struct AnswerResult(AnswerAction Action, int Length = 0, AnswerSource Source = AnswerSource.Refused);

/// <summary>
/// Query bytes and a snapshot in, reply bytes out. Pure, no allocation, never throws. Stages: 1 admit (header), 2 question, 3 table,
/// 4 what is not in the table goes to the forwarder. One per server; used by all its workers at once.
/// </summary>
/// <param name="compat110">1.10's answers where they differ.</param>
/// <param name="ttl">Seconds a client may keep an answer.</param>
/// <param name="headlessTtl">The same for the addresses of pods.</param>
/// <param name="aliases">A name below a search domain is an alias (CNAME) of the host; else the host's addresses are given under the queried name itself.</param>
internal sealed class Answerer(bool compat110, uint ttl = Answerer.DefaultTtl, uint headlessTtl = Answerer.DefaultTtl, bool aliases = true)
{
    public const uint DefaultTtl = 30;   // seconds; what the peers use
    public const ushort EdnsSize = 4096; // what our socket takes in one datagram
    private const uint EmptyTtl = 5;     // seconds a resolver may remember NODATA: a push can add the other family any time
    private const int EdnsLength = 11;
    private const int BadVersion = 16;   // BADVERS, RFC 6891 §6.1.3

    /// <summary>Decides, and writes the reply if it can. <paramref name="rotation"/> chooses which address comes first.</summary>
    public AnswerResult Answer(ReadOnlySpan<byte> packet, DnsSnapshot snapshot, bool tcp, uint rotation, Span<byte> reply, out DnsQuery query)
    {
        // 1
        switch (DnsQuery.Read(packet, out query))
        {
            case QueryVerdict.Drop: return new(AnswerAction.Drop);
            case QueryVerdict.NotImplemented: return new(AnswerAction.Reply, DnsReply.WriteHeaderOnly(query.Header, DnsRcode.NotImp, reply));
            case QueryVerdict.BadCounts: return new(AnswerAction.Reply, DnsReply.WriteHeaderOnly(query.Header, DnsRcode.FormErr, reply));
            case QueryVerdict.BadBody: return new(AnswerAction.Reply, DnsReply.WriteEmpty(packet, query, DnsRcode.FormErr, 0, reply));
            default: break;
        }
        if (query.Edns.Version != 0) { return new(AnswerAction.Reply, DnsReply.WriteEmpty(packet, query, BadVersion, EdnsSize, reply)); }
        // 2, 3
        return AnswerFromTables(packet, query, snapshot, Limit(query, tcp), rotation, reply);
    }

    /// <summary>Writes the answer that a virtual IP gives after upstream said the name does not exist; 0 when the table changed meanwhile and has none.</summary>
    public int AnswerVip(ReadOnlySpan<byte> packet, DnsQuery query, DnsSnapshot snapshot, bool tcp, uint rotation, Span<byte> reply)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength + NameTable.ScratchSize];
        Span<byte> scratch = name[WireName.MaxLength..];
        name = name[..query.Question.NameLength];
        WireName.ToLower(query.Name(packet), name);
        return snapshot.Vips.Find(name, snapshot.Search, scratch, out NameMatch match) ? WriteHost(packet, query, name, match, Limit(query, tcp), rotation, reply) : 0;
    }

    /// <summary>The most a reply may have: what the client says it takes, or what the length prefix of TCP can say.</summary>
    public static int Limit(DnsQuery query, bool tcp) => tcp ? ushort.MaxValue : query.UdpLimit;

    private AnswerResult AnswerFromTables(ReadOnlySpan<byte> packet, DnsQuery query, DnsSnapshot snapshot, int limit, uint rotation, Span<byte> reply)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength + NameTable.ScratchSize];
        Span<byte> scratch = name[WireName.MaxLength..];
        name = name[..query.Question.NameLength];
        WireName.ToLower(query.Name(packet), name);

        if (query.Question.Type == DnsType.SRV && !compat110 && ServiceQuestion.TryRead(name, out ReadOnlySpan<byte> service, out ReadOnlySpan<byte> owner))
        {
            int length = WriteService(packet, query, name, service, owner, snapshot, scratch, limit, reply);
            if (length > 0) { return new(AnswerAction.Reply, length, AnswerSource.Table); }
        }
        if (snapshot.Names.Find(name, snapshot.Search, scratch, out NameMatch match))
        {
            if (!compat110 && match.Rule == MatchRule.Wildcard && IsShortNameAttempt(name, match, snapshot.Search)) { return new(AnswerAction.ForwardThenTable); }
            AnswerSource source = match.Rule == MatchRule.Wildcard ? AnswerSource.Wildcard : AnswerSource.Table;
            return AnswerKnown(packet, query, name, match, source, limit, rotation, reply);
        }
        if (snapshot.Vips.Find(name, snapshot.Search, scratch, out match))
        {
            if (snapshot.VipsOnlyWhereUnknown) { return new(AnswerAction.ForwardElseVip); }
            return AnswerKnown(packet, query, name, match, AnswerSource.Vip, limit, rotation, reply);
        }
        if (query.Question.Type == DnsType.PTR && !compat110 && MeshAddress.TryParseReverse(name, out UInt128 address))
        {
            bool isKnown = snapshot.Names.TryFindAddress(address, out NamedHost host) || snapshot.Vips.TryFindAddress(address, out host);
            if (isKnown) { return new(AnswerAction.Reply, WriteName(packet, query, name, [], host.Name, Lifetime(host), limit, reply), AnswerSource.Table); }
        }
        return new(AnswerAction.Forward);
    }

    /// <summary>
    /// A and AAAA come from the table, the missing family as NODATA: a client that gets NXDOMAIN for AAAA may drop the A answer too. HTTPS and
    /// SVCB are NODATA: a public record would lead past the mesh by its address hints. Other types exist upstream at most for hosts that are
    /// more than a mesh name (MX and TXT of a public domain), so those are asked for.
    /// </summary>
    private AnswerResult AnswerKnown(ReadOnlySpan<byte> packet, DnsQuery query, ReadOnlySpan<byte> name, NameMatch match, AnswerSource source, int limit, uint rotation, Span<byte> reply)
    {
        ushort type = query.Question.Type;
        bool isAddress = type is DnsType.A or DnsType.AAAA;
        if (!isAddress && compat110) { return new(AnswerAction.Forward); }
        bool isOurs = isAddress || type is DnsType.HTTPS or DnsType.SVCB || match.Host.Source == HostSource.Kubernetes;
        return isOurs
            ? new(AnswerAction.Reply, WriteHost(packet, query, name, match, limit, rotation, reply), source)
            : new(AnswerAction.ForwardElseEmpty, 0, source);
    }

    /// <summary>Writes the table's answer to a query that upstream did not deny; 0 when the table changed meanwhile and has none.</summary>
    public int AnswerTable(ReadOnlySpan<byte> packet, DnsQuery query, DnsSnapshot snapshot, bool tcp, uint rotation, Span<byte> reply)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength + NameTable.ScratchSize];
        Span<byte> scratch = name[WireName.MaxLength..];
        name = name[..query.Question.NameLength];
        WireName.ToLower(query.Name(packet), name);
        if (!snapshot.Names.Find(name, snapshot.Search, scratch, out NameMatch match)) { return 0; }
        return AnswerKnown(packet, query, name, match, AnswerSource.Wildcard, Limit(query, tcp), rotation, reply).Length;
    }

    /// <summary>
    /// A wildcard that covers a search domain would take every short name a user types (<c>db</c> asked as <c>db.corp.example</c> under <c>*.example</c>):
    /// for names right below such a domain upstream is asked first whether they exist.
    /// </summary>
    private static bool IsShortNameAttempt(ReadOnlySpan<byte> name, NameMatch match, byte[][] search)
    {
        ReadOnlySpan<byte> covered = WireName.Parent(match.Host.Name); // without the asterisk
        foreach (byte[] domain in search)
        {
            bool covers = covered.SequenceEqual(domain) || WireName.IsBelow(domain, covered, out _);
            if (covers && match.Alias.Length == 0 && WireName.IsBelow(name, domain, out _)) { return true; }
        }
        return false;
    }

    /// <summary>Writes NODATA for a name of the table whose other types upstream does not know.</summary>
    public int AnswerEmpty(ReadOnlySpan<byte> packet, DnsQuery query, bool tcp, Span<byte> reply)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        name = name[..query.Question.NameLength];
        WireName.ToLower(query.Name(packet), name);
        var writer = new DnsWriter(reply, packet, query.Question, Limit(query, tcp), compress: true);
        return FinishEmpty(ref writer, query, name);
    }

    private int WriteHost(ReadOnlySpan<byte> packet, DnsQuery query, ReadOnlySpan<byte> name, NameMatch match, int limit, uint rotation, Span<byte> reply)
    {
        bool isV4 = query.Question.Type == DnsType.A;
        ReadOnlySpan<byte> addresses = isV4 ? match.Host.V4 : query.Question.Type == DnsType.AAAA ? match.Host.V6 : [];
        int size = isV4 ? 4 : 16, reserve = Reserve(query);
        bool isAlias = aliases && match.Alias.Length > 0;
        ReadOnlySpan<byte> owner = isAlias ? match.Alias : name;
        uint lifetime = Lifetime(match.Host);
        int plain = query.Question.End + reserve + addresses.Length / size * (owner.Length + 10 + size) + (isAlias ? name.Length + 10 + match.Alias.Length : 0);

        var writer = new DnsWriter(reply, packet, query.Question, limit, compress: plain > Math.Min(limit, reply.Length) || addresses.Length == 0);
        if (addresses.Length == 0) { return FinishEmpty(ref writer, query, name); }
        if (isAlias && !writer.TryAlias(name, lifetime, match.Alias, reserve)) { writer.MarkTruncated(); }
        int count = addresses.Length / size, first = count > 1 ? (int)(rotation % (uint)count) : 0;
        for (int i = 0; i < count && !writer.IsTruncated; i++)
        {
            int at = (first + i) % count * size;
            if (!writer.TryAnswer(owner, query.Question.Type, lifetime, addresses.Slice(at, size), reserve)) { writer.MarkTruncated(); }
        }
        return Finish(ref writer, query);
    }

    /// <summary>SRV of a service of the table; 0: it has no such port.</summary>
    private int WriteService(ReadOnlySpan<byte> packet, DnsQuery query, ReadOnlySpan<byte> name, ReadOnlySpan<byte> service, ReadOnlySpan<byte> owner, DnsSnapshot snapshot, Span<byte> scratch, int limit, Span<byte> reply)
    {
        if (!snapshot.Names.Find(owner, snapshot.Search, scratch, out NameMatch match)) { return 0; }
        ushort port = snapshot.Ports.Find(match.Host.Name, service, match.Host.Source == HostSource.Kubernetes);
        if (port == 0) { return 0; }
        ReadOnlySpan<byte> target = match.Rule == MatchRule.Wildcard ? owner : match.Host.Name;
        return WriteName(packet, query, name, [0, 0, 0, 0, (byte)(port >> 8), (byte)port], target, Lifetime(match.Host), limit, reply); // priority 0, weight 0
    }

    private int WriteName(ReadOnlySpan<byte> packet, DnsQuery query, ReadOnlySpan<byte> name, ReadOnlySpan<byte> before, ReadOnlySpan<byte> target, uint lifetime, int limit, Span<byte> reply)
    {
        var writer = new DnsWriter(reply, packet, query.Question, limit, compress: true);
        if (!writer.TryNameRecord(name, query.Question.Type, lifetime, before, target, Reserve(query))) { writer.MarkTruncated(); }
        return Finish(ref writer, query);
    }

    private int FinishEmpty(scoped ref DnsWriter writer, DnsQuery query, scoped ReadOnlySpan<byte> name)
    {
        // without room for it the SOA is left out: it is an offer, not part of the answer
        if (!compat110) { writer.TryAuthority(name, "\u0009vmsidecar\u0007invalid\0"u8, Math.Min(EmptyTtl, ttl), Reserve(query)); }
        return Finish(ref writer, query);
    }

    private int Finish(scoped ref DnsWriter writer, DnsQuery query)
    {
        if (Reserve(query) > 0) { writer.TryEdns(EdnsSize, 0, query.Edns.DnssecOk); }
        int kept = query.Header.Flags & (DnsHeader.RecursionDesired | DnsHeader.CheckingDisabled);
        return writer.Finish(query.Header.Id, DnsHeader.Response | DnsHeader.Authoritative | kept);
    }

    private uint Lifetime(NamedHost host) => host.IsHeadless ? headlessTtl : ttl;

    private int Reserve(DnsQuery query) => query.Edns.IsPresent && !compat110 ? EdnsLength : 0;
}
