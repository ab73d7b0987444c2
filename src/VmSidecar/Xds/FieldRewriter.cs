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
        ProtoWriter? output = null;
        int copied = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Type != ProtoWireType.Bytes || choose(reader.Number) is not { } visit) { continue; }
            Rewritten inner = visit(reader.Bytes);
            if (inner.Kind == RewriteKind.Same) { continue; }
            output ??= new ProtoWriter(message.Length); // what changes mostly becomes shorter
            output.Append(message[copied..reader.Start]);
            if (inner.Kind == RewriteKind.Changed) { output.Bytes(reader.Number, inner.Bytes); }
            copied = reader.End;
        }
        if (output is null || reader.IsMalformed) { return Rewritten.Same; }
        return Rewritten.Changed(output.Append(message[copied..]).ToArray());
    }
}
