namespace VmSidecar.Xds;

/// <summary>Cases of <see cref="Rewritten"/>.</summary>
internal enum RewriteKind
{
    Same,
    Removed,
    Changed,
}

/// <summary>The bytes from <paramref name="Start"/> to <paramref name="End"/> of a message give way to <paramref name="Bytes"/>.</summary>
internal readonly record struct Edit(int Start, int End, byte[] Bytes);

/// <summary>
/// What became of the content of one length-delimited field: the same, taken out, or changed. A change is kept as edits of the original, in
/// order and apart, so that the messages around a changed byte, four levels deep, are not copied once per level; whoever sends it copies once.
/// </summary>
internal readonly struct Rewritten
{
    private readonly List<Edit>? _edits;

    private Rewritten(RewriteKind kind, List<Edit>? edits, int length) => (Kind, _edits, Length) = (kind, edits, length);

    public static Rewritten Same => default;

    public static Rewritten Removed => new(RewriteKind.Removed, null, 0);

    /// <summary>Same, taken out, or changed.</summary>
    public RewriteKind Kind { get; }

    /// <summary>Bytes of the new content when changed.</summary>
    public int Length { get; }

    /// <summary>All of the content gives way to this.</summary>
    public static Rewritten Changed(byte[] bytes) => new(RewriteKind.Changed, [new Edit(0, Whole, bytes)], bytes.Length);

    /// <summary>The content with edits, in order and apart, and the length it has then, bytes.</summary>
    public static Rewritten Edited(List<Edit> edits, int length) => new(RewriteKind.Changed, edits, length);

    /// <summary>The new content in parts; <paramref name="original"/> is what was rewritten. Only when changed.</summary>
    public void Write(ReadOnlySpan<byte> original, Action<ReadOnlySpan<byte>> part)
    {
        int copied = 0;
        foreach (Edit edit in _edits!)
        {
            part(original[copied..edit.Start]);
            part(edit.Bytes);
            copied = Math.Min(edit.End, original.Length);
        }
        part(original[copied..]);
    }

    /// <summary>The new content; null when it is the same or taken out.</summary>
    public byte[]? Of(ReadOnlySpan<byte> original)
    {
        if (Kind != RewriteKind.Changed) { return null; }
        byte[] changed = GC.AllocateUninitializedArray<byte>(Length);
        int at = 0;
        Write(original, part =>
        {
            part.CopyTo(changed.AsSpan(at));
            at += part.Length;
        });
        return changed;
    }

    /// <summary>Adds the change to the edits of the message around, in which the original stands from <paramref name="start"/> to <paramref name="end"/>. Only when changed.</summary>
    public void MoveTo(List<Edit> around, int start, int end)
    {
        foreach (Edit edit in _edits!) { around.Add(edit with { Start = start + edit.Start, End = edit.End == Whole ? end : start + edit.End }); }
    }

    private const int Whole = int.MaxValue; // as an end: all there is
}
