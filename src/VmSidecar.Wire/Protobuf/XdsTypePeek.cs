using System.Text.Unicode;

namespace VmSidecar.Wire.Protobuf;

/// <summary>
/// The type of a response from its first bytes. The envelope names it after the resources, but each resource names it too and every Any must equal the
/// envelope's; serializers write fields in the order of their numbers. A guess to be checked once the envelope has come.
/// </summary>
internal static class XdsTypePeek
{
    private const int TypeUrl = 4, Resources = 2; // of both kinds of response
    private const int ResourceAny = 2;            // Resource.resource
    private const int AnyTypeUrl = 1;

    /// <summary>Looks into the beginning of a response. Null when it does not show the type.</summary>
    public static string? Find(XdsMessageKind kind, ReadOnlySpan<byte> beginning)
    {
        if (!TryEnter(beginning, n => n is TypeUrl or Resources, out int number, out ReadOnlySpan<byte> found, out bool whole)) { return null; }
        if (number == Resources)
        {
            if (kind == XdsMessageKind.DeltaResponse && !TryEnter(found, n => n == ResourceAny, out _, out found, out _)) { return null; }
            if (!TryEnter(found, n => n == AnyTypeUrl, out _, out found, out whole)) { return null; }
        }
        if (!whole || !Utf8.IsValid(found)) { return null; }
        return XdsTypeUrl.TryShare(found, out string? shared) ? shared : System.Text.Encoding.UTF8.GetString(found);
    }

    /// <summary>The first length-delimited field that is wanted, as much of it as is there.</summary>
    private static bool TryEnter(ReadOnlySpan<byte> part, Predicate<int> wanted, out int number, out ReadOnlySpan<byte> body, out bool whole)
    {
        number = 0;
        body = default;
        whole = false;
        while (TryVarint(ref part, out ulong tag))
        {
            if ((tag & 7) != (int)ProtoWireType.Bytes) // the few other fields of these messages come later or are varints
            {
                if ((tag & 7) != (int)ProtoWireType.Varint || !TryVarint(ref part, out _)) { return false; }
                continue;
            }
            if (!TryVarint(ref part, out ulong length)) { return false; }
            number = (int)Math.Min(tag >> 3, int.MaxValue);
            whole = length <= (ulong)part.Length;
            body = whole ? part[..(int)length] : part;
            if (wanted(number)) { return true; }
            if (!whole) { return false; }
            part = part[(int)length..];
        }
        return false;
    }

    private static bool TryVarint(ref ReadOnlySpan<byte> bytes, out ulong value)
    {
        value = 0;
        for (int i = 0; i < bytes.Length && i < 10; i++)
        {
            value |= (ulong)(bytes[i] & 0x7F) << (7 * i);
            if (bytes[i] < 0x80)
            {
                bytes = bytes[(i + 1)..];
                return true;
            }
        }
        return false;
    }
}
