using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Reads and edits a google.protobuf.Struct as bytes: fields = map of string to Value at 1; Value: bool 4, string 3, struct 5. Pure.</summary>
internal static class StructValue
{
    /// <summary>The Value under a name, in proto's own spelling or its camel case; empty where there is none.</summary>
    public static ReadOnlySpan<byte> Find(ReadOnlySpan<byte> fields, string name)
    {
        var reader = new ProtoReader(fields);
        while (reader.Next())
        {
            if (reader.Is(1) && IsNamed(reader.Bytes, name)) { return ProtoField.Last(reader.Bytes, 2); }
        }
        return default;
    }

    /// <summary>The Struct inside a Value.</summary>
    public static ReadOnlySpan<byte> Inside(ReadOnlySpan<byte> value) => ProtoField.Last(value, 5);

    /// <summary>The string inside a Value.</summary>
    public static string Text(ReadOnlySpan<byte> value) => ProtoField.Text(value, 3);

    /// <summary>True for a Value that is the boolean true.</summary>
    public static bool IsTrue(ReadOnlySpan<byte> value) => ProtoField.Number(value, 4) != 0;

    /// <summary>Rewrites the Value under a name in a Struct.</summary>
    public static Rewritten Edit(ReadOnlySpan<byte> fields, string name, FieldRewriter.Visit value) => FieldRewriter.Walk(
        fields, n => n == 1 ? entry => IsNamed(entry, name) ? FieldRewriter.Walk(entry, m => m == 2 ? value : null) : Rewritten.Same : null);

    /// <summary>Rewrites the Struct inside a Value.</summary>
    public static FieldRewriter.Visit In(FieldRewriter.Visit fields) => value => FieldRewriter.Walk(value, n => n == 5 ? fields : null);

    /// <summary>A Value that is a Struct of one field.</summary>
    public static ProtoWriter Holding(string name, ProtoWriter value) =>
        new ProtoWriter().Message(5, new ProtoWriter().Message(1, new ProtoWriter().String(1, name).Message(2, value)));

    private static bool IsNamed(ReadOnlySpan<byte> entry, string name)
    {
        string key = Encoding.UTF8.GetString(ProtoField.Last(entry, 1));
        return key == name || key == Camel(name);
    }

    private static string Camel(string name) =>
        string.Concat(name.Split('_').Select((word, at) => at == 0 || word.Length == 0 ? word : char.ToUpperInvariant(word[0]) + word[1..]));
}
