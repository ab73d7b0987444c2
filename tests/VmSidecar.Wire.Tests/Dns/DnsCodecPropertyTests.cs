using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Wire.Tests.Dns;

/// <summary>What must hold for any bytes. The seed of a failing round is in the message.</summary>
public sealed class DnsCodecPropertyTests
{
    private const int Rounds = 20_000;

    [Fact]
    public void No_packet_makes_a_reader_throw_or_read_past_the_end()
    {
        ForEachSeed(Rounds, random =>
        {
            byte[] packet = Hostile(random);
            DnsQuery.Read(packet, out DnsQuery query);
            Assert.InRange(query.Length, 0, packet.Length);
            Assert.InRange(query.Edns.End, 0, packet.Length);
            DnsReply.IsWhole(packet, out int end);
            Assert.InRange(end, 0, packet.Length);
            var nds = new NdsReader(packet);
            while (nds.TryReadHost(out _)) { }
            Span<byte> name = stackalloc byte[WireName.MaxLength];
            for (int at = 0; at < packet.Length; at++)
            {
                var reader = new DnsReader(packet, at);
                if (reader.TryReadName(name, out int length)) { Assert.InRange(length, 1, WireName.MaxLength); _ = WireName.ToText(name[..length]); }
            }
        });
    }

    [Fact]
    public void Fitting_never_grows_a_message_and_leaves_a_whole_one()
    {
        ForEachSeed(Rounds, random =>
        {
            byte[] message = Message(random, out _);
            int limit = random.Next(12, message.Length + 20);
            byte[] copy = [.. message];
            int length = DnsReply.Fit(copy, limit);
            Assert.InRange(length, 0, Math.Min(limit, message.Length));
            if (limit >= message.Length) { Assert.Equal(message, copy[..length]); return; }
            Assert.True(DnsReply.IsWhole(copy.AsSpan(0, length), out int end));
            Assert.Equal(length, end);
            Assert.True(DnsHeader.TryRead(copy, out DnsHeader header) && header.IsTruncated);
        });
    }

    [Fact]
    public void Fitting_hostile_bytes_stays_within_them()
    {
        ForEachSeed(Rounds, random =>
        {
            byte[] packet = Hostile(random);
            Assert.InRange(DnsReply.Fit(packet, random.Next(12, 600)), 0, packet.Length);
        });
    }

    [Fact]
    public void Every_truncation_of_a_valid_query_is_refused()
    {
        ForEachSeed(500, random =>
        {
            byte[] query = Query(random);
            Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
            Assert.Equal(query.Length, parsed.Length);
            for (int length = 0; length < query.Length; length++)
            {
                Assert.NotEqual(QueryVerdict.Accepted, DnsQuery.Read(query.AsSpan(0, length), out _));
            }
        });
    }

    [Fact]
    public void Names_survive_text_and_back()
    {
        ForEachSeed(Rounds, random =>
        {
            byte[] name = Name(random);
            byte[]? back = WireName.Encode(WireName.ToText(name));
            Assert.Equal(name, back);
            byte[] upper = [.. name.Select(b => b is >= (byte)'a' and <= (byte)'z' ? (byte)(b - 32) : b)];
            byte[] lower = new byte[upper.Length];
            WireName.ToLower(upper, lower);
            Assert.Equal(name, lower);
            Assert.Equal(WireNameComparer.Instance.GetHashCode(name), WireNameComparer.Instance.GetHashCode(lower.AsSpan()));
        });
    }

    [Fact]
    public void What_is_written_with_compression_reads_as_what_was_written()
    {
        ForEachSeed(Rounds, random =>
        {
            byte[] message = Message(random, out List<byte[]> owners);
            var reader = new DnsReader(message, DnsHeader.Size);
            Assert.True(reader.TryReadQuestion(out _));
            Span<byte> name = stackalloc byte[WireName.MaxLength];
            foreach (byte[] owner in owners)
            {
                var at = new DnsReader(message, reader.Position);
                Assert.True(at.TryReadName(name, out int length));
                Assert.Equal(owner, name[..length].ToArray());
                Assert.True(reader.TryReadRecord(out _));
            }
        });
    }

    [Fact]
    public void A_message_that_does_not_fit_is_left_at_a_record_boundary()
    {
        ForEachSeed(2_000, random =>
        {
            byte[] query = Query(random), packet = new byte[random.Next(query.Length, 700)];
            DnsQuery.Read(query, out DnsQuery parsed);
            var writer = new DnsWriter(packet, query, parsed.Question, packet.Length, compress: random.Next(2) == 0);
            int written = 0;
            for (int i = 0; i < 60; i++)
            {
                byte[] owner = Name(random);
                bool fits = (i % 3) switch
                {
                    0 => writer.TryAlias(owner, 1, Name(random), 11),
                    1 => writer.TryNameRecord(owner, DnsType.SRV, 1, [0, 1, 0, 2, 0, 3], Name(random), 11),
                    _ => writer.TryAnswer(owner, DnsType.A, 1, [1, 2, 3, 4], 11),
                };
                written += fits ? 1 : 0;
            }
            int length = writer.Finish(1, 0x8000);
            Assert.True(DnsReply.IsWhole(packet.AsSpan(0, length), out int end) && end == length);
            Assert.True(DnsHeader.TryRead(packet, out DnsHeader header) && header.Answers == written);
        });
    }

    [Theory] // compression pointers that must not be followed (RFC 1035 §4.1.4)
    [InlineData("c000")]         // to itself
    [InlineData("c002")]         // forward
    [InlineData("0161c000")]     // back to its own start: for ever
    [InlineData("c0")]           // cut
    [InlineData("40")]           // reserved label types
    [InlineData("80")]
    public void Traps_in_names_are_refused(string bytes)
    {
        byte[] packet = Convert.FromHexString(bytes);
        var reader = new DnsReader(packet);
        Assert.False(reader.TryReadName(new byte[WireName.MaxLength], out _));
    }

    [Theory]
    [InlineData("a..b")]
    [InlineData(".a")]
    [InlineData("..")]
    [InlineData("a b")]
    [InlineData("\u00e9.example")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example")] // 64
    public void What_is_no_name_is_not_encoded(string text) => Assert.Null(WireName.Encode(text));

    internal static void ForEachSeed(int rounds, Action<Random> check)
    {
        int start = Environment.TickCount;
        for (int i = 0; i < rounds; i++)
        {
            try { check(new Random(start + i)); }
            catch (Exception e) { throw new InvalidOperationException($"seed {start + i}: {e.Message}", e); }
        }
    }

    /// <summary>Noise, a mutated query or a mutated answer.</summary>
    internal static byte[] Hostile(Random random)
    {
        byte[] packet = random.Next(3) switch { 0 => new byte[random.Next(0, 120)], 1 => Query(random), _ => Message(random, out _) };
        if (packet.Length == 0) { return packet; }
        if (random.Next(3) == 0) { random.NextBytes(packet); }
        for (int i = random.Next(8); i > 0; i--) { packet[random.Next(packet.Length)] = (byte)(random.Next(4) == 0 ? 0xc0 : random.Next(256)); }
        return random.Next(4) == 0 ? packet[..random.Next(packet.Length)] : packet;
    }

    internal static byte[] Name(Random random)
    {
        var name = new List<byte>();
        for (int labels = random.Next(1, 6); labels > 0; labels--)
        {
            int length = random.Next(1, random.Next(20) == 0 ? 40 : 6);
            name.Add((byte)length);
            for (int i = 0; i < length; i++) { name.Add((byte)"abcde-09"[random.Next(8)]); }
        }
        name.Add(0);
        return [.. name];
    }

    internal static byte[] Query(Random random)
    {
        bool edns = random.Next(2) == 0;
        byte[] head = [(byte)random.Next(256), (byte)random.Next(256), (byte)random.Next(2), 0, 0, 1, 0, 0, 0, 0, 0, (byte)(edns ? 1 : 0)];
        byte[] opt = edns ? [0, 0, 41, (byte)random.Next(256), (byte)random.Next(256), 0, 0, 0, 0, 0, 4, 0, (byte)random.Next(20), 0, 0] : [];
        return [.. head, .. Name(random), 0, (byte)random.Next(70), 0, 1, .. opt];
    }

    private static byte[] Message(Random random, out List<byte[]> owners)
    {
        byte[] query = Query(random), packet = new byte[4096];
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        var writer = new DnsWriter(packet, query, parsed.Question, packet.Length, compress: true);
        owners = [];
        for (int i = random.Next(1, 12); i > 0; i--)
        {
            byte[] owner = random.Next(2) == 0 || owners.Count == 0 ? Name(random) : owners[random.Next(owners.Count)];
            bool written = random.Next(2) == 0 ? writer.TryAnswer(owner, DnsType.A, 60, [1, 2, 3, 4], 0) : writer.TryAlias(owner, 60, Name(random), 0);
            Assert.True(written);
            owners.Add(owner);
        }
        if (random.Next(2) == 0) { writer.TryEdns(1232, 0, false); }
        return packet[..writer.Finish(7, 0x8180)];
    }
}
