namespace VmSidecar.Tests.Iptables;

/// <summary>A packet as the rules see it.</summary>
internal sealed record Packet
{
    /// <summary>PREROUTING or OUTPUT.</summary>
    public required string Hook { get; init; }

    /// <summary>In for PREROUTING, out for OUTPUT.</summary>
    public required string Interface { get; init; }

    public required string Protocol { get; init; }
    public required string Source { get; init; }
    public required string Destination { get; init; }
    public required ushort SourcePort { get; init; }
    public required ushort DestinationPort { get; init; }
    public required bool Syn { get; init; }

    /// <summary>NEW, ESTABLISHED or INVALID.</summary>
    public required string State { get; init; }

    public required uint Mark { get; init; }
    public required uint ConnectionMark { get; init; }

    /// <summary>Null: no socket.</summary>
    public required uint? Uid { get; init; }

    public required uint? Gid { get; init; }

    public bool ToThisHost => Destination is "10.0.0.12" or "2001:db8::12" or "::1" or "::6" || Destination.StartsWith("127.", StringComparison.Ordinal);

    /// <summary>Any packet, the values the rules speak of more often than others.</summary>
    public static Packet Random(Random random, string[] addresses, string[] ports)
    {
        string Pick(params string[] from) => from[random.Next(from.Length)];
        ushort Port() => random.Next(3) == 0 ? (ushort)random.Next(1, 65536) : ushort.Parse(ports[random.Next(ports.Length)], System.Globalization.CultureInfo.InvariantCulture);
        string hook = Pick("PREROUTING", "OUTPUT"), protocol = Pick("tcp", "tcp", "tcp", "udp", "udp", "icmp");
        bool socket = hook == "OUTPUT" && random.Next(10) > 0;
        return new()
        {
            Hook = hook,
            Interface = Pick("lo", "lo", "eth0", "eth0", "eth1", "eth2", "eth3", "eth4"),
            Protocol = protocol,
            Source = Pick(addresses),
            Destination = Pick(addresses),
            SourcePort = Port(),
            DestinationPort = Port(),
            Syn = protocol == "tcp" && random.Next(4) > 0,
            State = Pick("NEW", "NEW", "ESTABLISHED", "INVALID"),
            Mark = uint.Parse(Pick("0", "0", "1337", "1338", "7"), System.Globalization.CultureInfo.InvariantCulture),
            ConnectionMark = uint.Parse(Pick("0", "0", "1337", "7"), System.Globalization.CultureInfo.InvariantCulture),
            Uid = socket ? uint.Parse(Pick("0", "1337", "1000"), System.Globalization.CultureInfo.InvariantCulture) : null,
            Gid = socket ? uint.Parse(Pick("0", "1337", "1000"), System.Globalization.CultureInfo.InvariantCulture) : null,
        };
    }
}
