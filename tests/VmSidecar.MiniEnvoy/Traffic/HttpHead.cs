using System.Globalization;
using System.Text;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Start line and headers of an HTTP/1.1 message (RFC 9112), names as received. Mutable: the proxy edits it on its way.</summary>
internal sealed class HttpHead(string startLine)
{
    private readonly List<KeyValuePair<string, string>> _headers = [];

    public string StartLine { get; set; } = startLine;

    public IReadOnlyList<KeyValuePair<string, string>> Headers => _headers;

    /// <summary>Words of the start line.</summary>
    public string[] Words => StartLine.Split(' ', 3);

    public string? this[string name] => _headers.Where(h => h.Key.Equals(name, StringComparison.OrdinalIgnoreCase)).Select(h => h.Value).FirstOrDefault();

    public IEnumerable<string> All(string name) => _headers.Where(h => h.Key.Equals(name, StringComparison.OrdinalIgnoreCase)).SelectMany(h => h.Value.Split(',')).Select(v => v.Trim());

    public void Add(string name, string value) => _headers.Add(new(name, value));

    public void Set(string name, string? value)
    {
        _headers.RemoveAll(h => h.Key.Equals(name, StringComparison.OrdinalIgnoreCase));
        if (value is not null) { Add(name, value); }
    }

    public bool Has(string name, string token) => All(name).Contains(token, StringComparer.OrdinalIgnoreCase);

    public bool IsChunked => Has("transfer-encoding", "chunked");

    /// <summary>Content-Length; null when there is none. Throws for one that is no number or for two that differ (RFC 9112 §6.3: request smuggling).</summary>
    public long? Length
    {
        get
        {
            string[] values = [.. All("content-length").Distinct()];
            if (values.Length == 0) { return null; }
            if (values.Length > 1 || !long.TryParse(values[0], NumberStyles.None, CultureInfo.InvariantCulture, out long length)) { throw new BadMessageException("http1.content_length_not_allowed"); }
            return length;
        }
    }

    /// <summary>Parses what came before the empty line.</summary>
    public static HttpHead Parse(string text)
    {
        string[] lines = text.Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length == 0) { throw new BadMessageException("http1.codec_error"); }
        var head = new HttpHead(lines[0]);
        foreach (string line in lines.Skip(1))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0 || char.IsWhiteSpace(line[0]) || char.IsWhiteSpace(line[colon - 1])) { throw new BadMessageException("http1.invalid_header"); }
            head.Add(line[..colon], line[(colon + 1)..].Trim());
        }
        return head;
    }

    public byte[] ToBytes()
    {
        var text = new StringBuilder(StartLine).Append("\r\n");
        foreach ((string name, string value) in _headers) { text.Append(name).Append(": ").Append(value).Append("\r\n"); }
        return Encoding.Latin1.GetBytes(text.Append("\r\n").ToString());
    }
}

/// <summary>A message that is not HTTP/1.1; the client gets 400.</summary>
internal sealed class BadMessageException(string detail) : Exception(detail);
