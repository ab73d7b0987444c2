using System.Collections.Immutable;

namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>What is asked for of one type, and where the stream stands. Lives as long as the process; nonce and sent names are of the current stream. Used by one loop.</summary>
internal sealed class Subscription(XdsType type)
{
    public XdsType Type => type;

    /// <summary>Names wanted now; empty for wildcard types.</summary>
    public ImmutableSortedSet<string> Names { get; set; } = ImmutableSortedSet<string>.Empty.WithComparer(StringComparer.Ordinal);

    /// <summary>Names last sent on this stream.</summary>
    public ImmutableSortedSet<string> Sent { get; set; } = ImmutableSortedSet<string>.Empty.WithComparer(StringComparer.Ordinal);

    /// <summary>Last accepted version; survives reconnects.</summary>
    public string Version { get; set; } = "";

    /// <summary>Nonce of the last response on this stream.</summary>
    public string Nonce { get; set; } = "";

    /// <summary>Versions of all resources held, by name (delta).</summary>
    public Dictionary<string, string> Held { get; } = [];

    /// <summary>A request of this type has gone out on this stream.</summary>
    public bool IsOpen { get; set; }
}
