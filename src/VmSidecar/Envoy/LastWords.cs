using System.Text;

namespace VmSidecar.Envoy;

/// <summary>The last lines one Envoy wrote to stderr, kept to explain its end. Written by the pump's thread, read by the supervisor.</summary>
internal sealed class LastWords
{
    private const int MaxLines = 4; // Envoy's reason is its last critical line; the one before often has the file
    private const int MaxBytes = 400; // per line: enough for a reason, not for a whole listener
    private readonly Lock _gate = new();
    private readonly Queue<string> _lines = new();

    /// <summary>Remembers a line, forgets the oldest.</summary>
    public void Add(ReadOnlySpan<byte> line)
    {
        if (line.IsEmpty) { return; }
        string text = Encoding.UTF8.GetString(line[..Math.Min(line.Length, MaxBytes)]).Replace('\t', ' ');
        lock (_gate)
        {
            if (_lines.Count == MaxLines) { _lines.Dequeue(); }
            _lines.Enqueue(text);
        }
    }

    /// <summary>The lines in order, oldest first.</summary>
    public IReadOnlyList<string> Lines { get { lock (_gate) { return [.. _lines]; } } }

    /// <summary>The cause for a log line: what Envoy said last, or that it said nothing.</summary>
    public string Explain()
    {
        IReadOnlyList<string> lines = Lines;
        return lines.Count == 0 ? "It wrote nothing to stderr" : "Its last words: " + string.Join(" | ", lines);
    }
}
