using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>One rule of a program: where it stands, what it matches, what it does, and why. A value; back ends render it.</summary>
/// <param name="Table">nat, mangle or raw.</param>
/// <param name="Chain">A built-in chain or one of ours.</param>
/// <param name="Match">All of it must hold.</param>
/// <param name="Target">What happens then.</param>
/// <param name="Why">Shown to the operator, also as the comment in the kernel; letters, digits and plain punctuation only.</param>
/// <param name="AtTop">In a built-in chain: before the rules of others, in order of the program.</param>
internal sealed record CaptureRule(string Table, string Chain, RuleMatch Match, RuleTarget Target, string Why, bool AtTop = false);

/// <summary>IPv4 or IPv6: each has its own program.</summary>
internal enum IpFamily
{
    V4,
    V6,
}

/// <summary>The condition of a rule; what is null or empty does not matter.</summary>
internal sealed record RuleMatch
{
    public static readonly RuleMatch Any = new();
    public static readonly RuleMatch Tcp = new() { Protocol = "tcp" };
    public static readonly RuleMatch Udp = new() { Protocol = "udp" };

    public CidrMatch? Source { get; init; }
    public CidrMatch? Destination { get; init; }
    public string? InInterface { get; init; }
    public string? OutInterface { get; init; }

    /// <summary>tcp or udp.</summary>
    public string? Protocol { get; init; }

    /// <summary>A TCP packet that does not open a connection.</summary>
    public bool NotSyn { get; init; }

    /// <summary>A port or range.</summary>
    public string? SourcePort { get; init; }

    public PortMatch? Ports { get; init; }

    /// <summary>The destination is an address of this host.</summary>
    public bool ToThisHost { get; init; }

    /// <summary>INVALID, or RELATED,ESTABLISHED.</summary>
    public string? ConntrackState { get; init; }

    public MarkMatch? Mark { get; init; }
    public uint? ConnectionMark { get; init; }

    /// <summary>Every one must hold.</summary>
    public ImmutableArray<OwnerMatch> Owners { get; init; } = [];
}

/// <summary>An address range, or everything but it.</summary>
internal sealed record CidrMatch(string Cidr, bool Not = false);

/// <summary>Destination ports, or all but them.</summary>
internal sealed record PortMatch(ImmutableArray<string> Ports, bool Not = false)
{
    public static PortMatch Is(string port) => new([port]);

    public static PortMatch IsNot(params ReadOnlySpan<string> ports) => new([.. ports], Not: true);
}

/// <summary>A packet mark, or any other.</summary>
internal sealed record MarkMatch(uint Mark, bool Not = false);

/// <summary>The credentials the socket was created with.</summary>
internal sealed record OwnerMatch(bool IsGroup, uint Id, bool Not = false);

/// <summary>What a rule does with its packet. Closed: the nested records are all there are.</summary>
internal abstract record RuleTarget
{
    private RuleTarget()
    {
    }

    public static readonly RuleTarget Return = new Verdict("RETURN");
    public static readonly RuleTarget Accept = new Verdict("ACCEPT");
    public static readonly RuleTarget Drop = new Verdict("DROP");

    /// <summary>RETURN, ACCEPT or DROP.</summary>
    internal sealed record Verdict(string Name) : RuleTarget;

    /// <summary>Goes on in one of our chains.</summary>
    internal sealed record Jump(string Chain) : RuleTarget;

    /// <summary>Destination becomes this host and that port; the original one stays in conntrack.</summary>
    internal sealed record Redirect(ushort Port) : RuleTarget;

    /// <summary>Given to the socket on that port with its addresses unchanged.</summary>
    internal sealed record Tproxy(ushort Port, uint Mark) : RuleTarget;

    /// <summary>Sets the packet's mark.</summary>
    internal sealed record SetMark(uint Mark) : RuleTarget;

    /// <summary>Packet mark to connection mark.</summary>
    internal sealed record SaveMark : RuleTarget;

    /// <summary>Connection mark to packet mark.</summary>
    internal sealed record RestoreMark : RuleTarget;

    /// <summary>Tracks the flow in a conntrack zone of its own.</summary>
    internal sealed record Zone(int Number) : RuleTarget;
}
