using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>What became of one length-delimited field.</summary>
/// <param name="Kind">Same, taken out, or replaced.</param>
/// <param name="Bytes">The new content when replaced.</param>
internal readonly record struct Rewritten(RewriteKind Kind, byte[]? Bytes)
{
    public static Rewritten Same => default;

    public static Rewritten Removed => new(RewriteKind.Removed, null);

    public static Rewritten Changed(byte[] bytes) => new(RewriteKind.Changed, bytes);
}

/// <summary>Cases of <see cref="Rewritten"/>.</summary>
internal enum RewriteKind
{
    Same,
    Removed,
    Changed,
}

/// <summary>Rewrites chosen fields of an encoded message and copies every other byte as it is. Pure.</summary>
internal static class FieldRewriter
{
    /// <summary>Rewrites the content of one field.</summary>
    public delegate Rewritten Visit(ReadOnlySpan<byte> body);

    /// <summary>Chooses what happens to the fields of a message, by number; null: copied.</summary>
    public delegate Visit? Choose(int number);

    /// <summary>Walks one message. A message that cannot be read stays as it is: Envoy judges it.</summary>
    public static Rewritten Walk(ReadOnlySpan<byte> message, Choose choose)
    {
        List<Edit>? edits = null;
        int length = message.Length;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Type != ProtoWireType.Bytes || choose(reader.Number) is not { } visit) { continue; }
            Rewritten inner = visit(reader.Bytes);
            if (inner.Kind == RewriteKind.Same) { continue; }
            byte[] head = inner.Kind == RewriteKind.Changed ? new ProtoWriter(16).Tag(reader.Number, inner.Bytes!.Length).ToArray() : [];
            (edits ??= []).Add(new Edit(reader.Start, reader.End, head, inner.Bytes ?? []));
            length += head.Length + (inner.Bytes?.Length ?? 0) - (reader.End - reader.Start);
        }
        return edits is null || reader.IsMalformed ? Rewritten.Same : Rewritten.Changed(Apply(message, edits, length));
    }

    // One array of the right size: large meshes have ten thousand messages to change, four levels deep.
    private static byte[] Apply(ReadOnlySpan<byte> message, List<Edit> edits, int length)
    {
        byte[] changed = GC.AllocateUninitializedArray<byte>(length);
        Span<byte> left = changed;
        int copied = 0;
        foreach (Edit edit in edits)
        {
            Append(ref left, message[copied..edit.Start]);
            Append(ref left, edit.Head);
            Append(ref left, edit.Body);
            copied = edit.End;
        }
        Append(ref left, message[copied..]);
        return changed;
    }

    private static void Append(ref Span<byte> left, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(left);
        left = left[bytes.Length..];
    }

    /// <summary>A field from <paramref name="Start"/> to <paramref name="End"/> gives way to a head (tag and length) and a body, both empty where it is taken out.</summary>
    private readonly record struct Edit(int Start, int End, byte[] Head, byte[] Body);
}
