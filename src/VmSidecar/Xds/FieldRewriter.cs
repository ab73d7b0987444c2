using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

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
            length += Take(edits ??= [], inner, reader) - (reader.End - reader.Start);
        }
        return edits is null || reader.IsMalformed ? Rewritten.Same : Rewritten.Edited(edits, length);
    }

    /// <summary>Turns what became of a field's content into edits of the message around it. Returns the field's new length, bytes.</summary>
    private static int Take(List<Edit> edits, Rewritten inner, in ProtoReader field)
    {
        if (inner.Kind == RewriteKind.Removed)
        {
            edits.Add(new Edit(field.Start, field.End, []));
            return 0;
        }
        byte[] head = new ProtoWriter(16).Tag(field.Number, inner.Length).ToArray();
        edits.Add(new Edit(field.Start, field.BodyStart, head));
        inner.MoveTo(edits, field.BodyStart, field.End);
        return head.Length + inner.Length;
    }
}
