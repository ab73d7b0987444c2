using System.Globalization;

namespace VmSidecar.Envoy;

/// <summary>Reads the text form of Envoy's statistics: <c>name: value</c> a line. Pure.</summary>
internal static class EnvoyStats
{
    /// <summary>The value of the line that starts with <paramref name="name"/> and splits in exactly two at a colon; null when absent. A value that is no number counts as absent.</summary>
    public static long? Find(string body, string name)
    {
        foreach (ReadOnlySpan<char> line in body.AsSpan().EnumerateLines())
        {
            if (!line.StartsWith(name, StringComparison.Ordinal) || line.Count(':') != 1) { continue; }
            if (long.TryParse(line[(line.IndexOf(':') + 1)..].Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value)) { return value; }
        }
        return null;
    }

    /// <summary>
    /// Active downstream connections of user listeners: null when the body has no statistics at all. Left out are the listeners
    /// of probes and metrics, of admin and Envoy's internal ones, and the per-worker copies. A wildcard IPv6 listener's
    /// name has its colons turned into underscores, so the port is compared, not the whole name.
    /// </summary>
    public static long? ActiveConnections(string body, int statusPort, int prometheusPort)
    {
        if (string.IsNullOrWhiteSpace(body)) { return null; }
        long sum = 0;
        foreach (ReadOnlySpan<char> line in body.AsSpan().EnumerateLines())
        {
            if (!line.StartsWith("listener.", StringComparison.Ordinal) || line.Count(':') != 1) { continue; }
            int colon = line.IndexOf(':');
            if (IsOwn(line[..colon], statusPort, prometheusPort)) { continue; }
            if (long.TryParse(line[(colon + 1)..].Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value)) { sum += value; }
        }
        return sum;
    }

    private static bool IsOwn(ReadOnlySpan<char> name, int statusPort, int prometheusPort)
    {
        if (name.Contains("worker_", StringComparison.Ordinal)
            || name.StartsWith("listener.envoy_internal_", StringComparison.Ordinal)
            || name.StartsWith("listener.admin.", StringComparison.Ordinal))
        {
            return true;
        }
        return IsWildcard(name, statusPort) || IsWildcard(name, prometheusPort);
    }

    private static bool IsWildcard(ReadOnlySpan<char> name, int port)
    {
        string suffix = string.Create(CultureInfo.InvariantCulture, $"_{port}.downstream_cx_active");
        if (!name.EndsWith(suffix, StringComparison.Ordinal)) { return false; }
        ReadOnlySpan<char> address = name["listener.".Length..^suffix.Length];
        return address is "0.0.0.0" or "127.0.0.1" || address.TrimStart("[]_:1").IsEmpty; // [::], [__], [::1] and their flattened forms
    }
}
