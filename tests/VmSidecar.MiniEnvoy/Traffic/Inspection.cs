using System.Collections.Immutable;

using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>What the listener filters found out about a connection; what filter chains are matched by.</summary>
internal sealed record Inspection(string Transport, string ServerName, ImmutableArray<string> Protocols)
{
    private const int LongestLine = 8192;
    private static readonly System.Buffers.SearchValues<byte> MethodBytes = System.Buffers.SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"u8);

    public static readonly Inspection Nothing = new("raw_buffer", "", []);

    /// <summary>Runs the TLS and HTTP inspectors that the listener has for this port. Waits for bytes as long as the client takes.</summary>
    public static async Task<Inspection> RunAsync(ListenerEntry listener, int port, PeekedStream stream, CancellationToken stop)
    {
        bool tls = listener.Has(KnownExtensions.TlsInspector, port), http = listener.Has(KnownExtensions.HttpInspector, port);
        while (tls)
        {
            if (ClientHello.Parse(stream.Ahead, out bool more) is { } hello) { return new Inspection("tls", hello.ServerName, hello.Protocols); }
            if (!more) { break; }
            if (!await stream.PeekMoreAsync(stop)) { return Nothing; }
        }
        while (http)
        {
            if (ProtocolOf(stream.Ahead, out bool more) is { } protocol) { return Nothing with { Protocols = [protocol] }; }
            if (!more || !await stream.PeekMoreAsync(stop)) { break; }
        }
        return Nothing;
    }

    /// <summary>The HTTP version of a request line, null when this is none (or not yet: <paramref name="needsMore"/>).</summary>
    internal static string? ProtocolOf(ReadOnlySpan<byte> bytes, out bool needsMore)
    {
        int end = bytes.IndexOf((byte)'\n');
        ReadOnlySpan<byte> line = end < 0 ? bytes : bytes[..end].TrimEnd((byte)'\r');
        int method = line.IndexOf((byte)' ');
        ReadOnlySpan<byte> word = method < 0 ? line : line[..method];
        needsMore = end < 0 && bytes.Length < LongestLine && word.Length <= 32 && !word.ContainsAnyExcept(MethodBytes);
        if (end < 0 || method <= 0) { return null; }
        return line.EndsWith(" HTTP/1.1"u8) ? "http/1.1" : line.EndsWith(" HTTP/1.0"u8) ? "http/1.0" : line.SequenceEqual("PRI * HTTP/2.0"u8) ? "h2c" : null;
    }
}
