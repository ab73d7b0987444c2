using System.Net;
using System.Text;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Builds queries and name tables, and reads replies into text, for tests.</summary>
internal static class DnsMessages
{
    /// <summary>A query for a dotted name in the letter case given, RD set.</summary>
    public static byte[] Query(string name, ushort type = DnsType.A, int ednsSize = -1, ushort id = 0x1234, bool dnssecOk = false)
    {
        var bytes = new List<byte> { (byte)(id >> 8), (byte)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, (byte)(ednsSize >= 0 ? 1 : 0) };
        bytes.AddRange(Name(name));
        bytes.AddRange([(byte)(type >> 8), (byte)type, 0, 1]);
        if (ednsSize >= 0) { bytes.AddRange([0, 0, 41, (byte)(ednsSize >> 8), (byte)ednsSize, 0, 0, (byte)(dnssecOk ? 0x80 : 0), 0, 0, 0]); }
        return [.. bytes];
    }

    public static byte[] Name(string dotted)
    {
        var bytes = new List<byte>();
        foreach (string label in dotted.Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            bytes.Add((byte)label.Length);
            bytes.AddRange(Encoding.ASCII.GetBytes(label));
        }
        bytes.Add(0);
        return [.. bytes];
    }

    /// <summary>An encoded NameTable.</summary>
    public static byte[] Nds(params (string Host, string[] Ips, string Registry, string Short, string Namespace)[] hosts)
    {
        var table = new List<byte>();
        foreach ((string host, string[] ips, string registry, string shortName, string ns) in hosts)
        {
            byte[] info = [.. ips.SelectMany(ip => Field(1, ip)), .. Field(2, registry), .. shortName.Length > 0 ? Field(3, shortName) : [], .. ns.Length > 0 ? Field(4, ns) : []];
            byte[] entry = [.. Field(1, host), .. Field(2, info)];
            table.AddRange(Field(1, entry));
        }
        return [.. table];
    }

    public static byte[] Field(int number, string value) => Field(number, Encoding.UTF8.GetBytes(value));

    public static byte[] Field(int number, byte[] value)
    {
        var bytes = new List<byte> { (byte)((number << 3) | 2) };
        int length = value.Length;
        while (length >= 0x80) { bytes.Add((byte)(length | 0x80)); length >>= 7; }
        bytes.Add((byte)length);
        bytes.AddRange(value);
        return [.. bytes];
    }

    /// <summary>An upstream's answer to a query: its question, and the given records for the question's name.</summary>
    public static byte[] Reply(byte[] query, int rcode = 0, uint ttl = 60, params string[] addresses)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        byte[] reply = new byte[65535];
        var writer = new DnsWriter(reply, query, parsed.Question, reply.Length, compress: true);
        foreach (IPAddress address in addresses.Select(IPAddress.Parse))
        {
            ushort type = address.GetAddressBytes().Length == 4 ? DnsType.A : DnsType.AAAA;
            Assert.True(writer.TryAnswer(parsed.Name(query), type, ttl, address.GetAddressBytes(), 0));
        }
        if (rcode == DnsRcode.NxDomain || (rcode == 0 && addresses.Length == 0)) { writer.TryAuthority(Name("upstream.test"), Name("ns.upstream.test"), ttl, 0); }
        int length = writer.Finish(parsed.Header.Id, 0x8180 | rcode);
        return reply[..length];
    }

    /// <summary>Reads every record of a reply; fails the test when the reply is not well formed or has bytes left.</summary>
    public static DnsText Read(ReadOnlySpan<byte> reply)
    {
        Assert.True(DnsHeader.TryRead(reply, out DnsHeader header));
        var reader = new DnsReader(reply, DnsHeader.Size);
        string question = "";
        for (int i = 0; i < header.Questions; i++)
        {
            Assert.True(reader.TryReadQuestion(out DnsQuestion asked));
            question = WireName.ToText(reply.Slice(asked.NameStart, asked.NameLength)) + " " + DnsType.ToText(asked.Type);
        }
        List<string>[] sections = [[], [], []];
        int[] counts = [header.Answers, header.Authorities, header.Additionals];
        for (int section = 0; section < 3; section++)
        {
            for (int i = 0; i < counts[section]; i++)
            {
                Assert.True(reader.TryReadRecord(out DnsRecord record), "a record announced in the header is missing");
                sections[section].Add(Text(reply, record));
            }
        }
        Assert.Equal(reply.Length, reader.Position);
        return new(header, question, sections[0], sections[1], sections[2]);
    }

    private static string Text(ReadOnlySpan<byte> reply, DnsRecord record)
    {
        string owner = NameAt(reply, record.Start);
        string data = record.Type switch
        {
            DnsType.A or DnsType.AAAA => new IPAddress(reply.Slice(record.DataStart, record.DataLength)).ToString(),
            DnsType.CNAME or DnsType.PTR or DnsType.SOA => NameAt(reply, record.DataStart),
            DnsType.OPT => record.Class.ToString(System.Globalization.CultureInfo.InvariantCulture),
            _ => Convert.ToHexString(reply.Slice(record.DataStart, record.DataLength)),
        };
        return record.Type == DnsType.OPT ? $"OPT {data}" : $"{owner} {record.Ttl} {DnsType.ToText(record.Type)} {data}";
    }

    private static string NameAt(ReadOnlySpan<byte> packet, int at)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        var reader = new DnsReader(packet, at);
        Assert.True(reader.TryReadName(name, out int length));
        return WireName.ToText(name[..length]);
    }
}

/// <summary>A reply in words.</summary>
internal sealed record DnsText(DnsHeader Header, string Question, List<string> Answers, List<string> Authorities, List<string> Additionals)
{
    public string Rcode => DnsRcode.ToText(Header.Rcode);
}
