using System.Buffers.Binary;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Decides whether and how long an upstream's answer may be remembered, and finds its TTLs. Pure.</summary>
internal static class CachePolicy
{
    private const uint MaxPositive = 3600, MaxNegative = 300; // seconds: a host outlives its resolver's opinion less than a resolver does
    // a local resolver has a cache of its own and sees networks come and go; its word must not outlive that by much
    private const uint MaxPositiveLocal = 60, MaxNegativeLocal = 5;

    /// <summary>Seconds, 0 for not at all: cut or failed answers, TTL 0, and nothing found without a SOA to say for how long (RFC 2308 §5).</summary>
    public static uint Lifetime(ReadOnlySpan<byte> message, bool fromLocal)
    {
        if (!DnsHeader.TryRead(message, out DnsHeader header) || header.IsTruncated || header.Opcode != 0 || header.Questions != 1) { return 0; }
        if (header.Rcode is not DnsRcode.NoError and not DnsRcode.NxDomain) { return 0; }
        var reader = new DnsReader(message, DnsHeader.Size);
        if (!reader.TryReadQuestion(out DnsQuestion question)) { return 0; }
        uint least = uint.MaxValue;
        bool found = false;
        for (int i = 0; i < header.Answers; i++)
        {
            if (!reader.TryReadRecord(out DnsRecord record)) { return 0; }
            least = Math.Min(least, Sane(record.Ttl));
            found |= record.Type == question.Type || question.Type == DnsType.ANY;
        }
        if (header.Rcode == DnsRcode.NoError && found) { return Math.Min(least, fromLocal ? MaxPositiveLocal : MaxPositive); }
        for (int i = 0; i < header.Authorities; i++)
        {
            if (!reader.TryReadRecord(out DnsRecord record)) { return 0; }
            if (record.Type != DnsType.SOA || record.DataLength < 20) { continue; }
            uint minimum = BinaryPrimitives.ReadUInt32BigEndian(message[(record.End - 4)..]);
            least = Math.Min(least, Math.Min(Sane(record.Ttl), Sane(minimum)));
            return Math.Min(least, fromLocal ? MaxNegativeLocal : MaxNegative);
        }
        return 0;
    }

    /// <summary>Offsets of all TTLs but OPT's, which is none; empty with false when the message is not whole.</summary>
    public static bool TryFindTtls(ReadOnlySpan<byte> message, out ushort[] offsets)
    {
        offsets = [];
        if (!DnsHeader.TryRead(message, out DnsHeader header)) { return false; }
        var reader = new DnsReader(message, DnsHeader.Size);
        for (int i = 0; i < header.Questions; i++)
        {
            if (!reader.TryReadQuestion(out _)) { return false; }
        }
        int count = header.Answers + header.Authorities + header.Additionals;
        var found = new List<ushort>(Math.Min(count, 64));
        for (int i = 0; i < count; i++)
        {
            if (!reader.TryReadRecord(out DnsRecord record) || record.TtlStart > ushort.MaxValue) { return false; }
            if (record.Type != DnsType.OPT) { found.Add((ushort)record.TtlStart); }
        }
        offsets = [.. found];
        return true;
    }

    /// <summary>A TTL with the top bit set counts as 0 (RFC 2181 §8).</summary>
    public static uint Sane(uint ttl) => ttl > int.MaxValue ? 0 : ttl;
}
