using System.Text;

namespace VmSidecar.Wire.Protobuf;

/// <summary>One field of an encoded message, looked up by number. Pure; broken input and absent fields read as empty.</summary>
internal static class ProtoField
{
    /// <summary>Payload of the last length-delimited field with this number, which is the one that counts (protobuf, "Last One Wins").</summary>
    public static ReadOnlySpan<byte> Last(ReadOnlySpan<byte> message, int number)
    {
        ReadOnlySpan<byte> found = default;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Is(number)) { found = reader.Bytes; }
        }
        return found;
    }

    /// <summary>True when there is such a length-delimited field, be it empty.</summary>
    public static bool Has(ReadOnlySpan<byte> message, int number)
    {
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Is(number)) { return true; }
        }
        return false;
    }

    /// <summary>The last such field as text.</summary>
    public static string Text(ReadOnlySpan<byte> message, int number) => Encoding.UTF8.GetString(Last(message, number));

    /// <summary>The last varint field with this number; 0 where there is none.</summary>
    public static ulong Number(ReadOnlySpan<byte> message, int number)
    {
        ulong found = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Number == number && reader.Type == ProtoWireType.Varint) { found = reader.Value; }
        }
        return found;
    }
}
