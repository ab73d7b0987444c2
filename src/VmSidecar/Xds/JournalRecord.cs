using System.Buffers.Binary;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>How a journal of kept resources ends.</summary>
internal enum JournalEnd
{
    /// <summary>With its last record.</summary>
    Whole,

    /// <summary>Within a record, as a power cut leaves it: what came before is a state that Envoy was in.</summary>
    Torn,

    /// <summary>Something is wrong before the end, or it is of another type: none of it can be relied on.</summary>
    Damaged,
}

/// <summary>
/// One accepted response in a journal. Form: one byte kind, four bytes length, four bytes checksum of these five, the response as it was delivered, four bytes
/// checksum of it; little endian, checksums are CRC-32C.
/// </summary>
internal static class JournalRecord
{
    /// <summary>Bytes before the response.</summary>
    public const int Head = Summed + sizeof(uint);

    /// <summary>Bytes after the response.</summary>
    public const int Tail = sizeof(uint);

    private const int Summed = 1 + sizeof(int);

    /// <summary>The record of a response of so many bytes, in pieces; one is valid until the next is asked for.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Of(XdsMessageKind kind, int length, IEnumerable<ReadOnlyMemory<byte>> response)
    {
        byte[] head = new byte[Head], tail = new byte[Tail];
        head[0] = (byte)kind;
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(1), length);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(Summed), Crc32C.Of(head.AsSpan(0, Summed)));
        yield return head;
        Crc32C sum = Crc32C.Begin;
        foreach (ReadOnlyMemory<byte> piece in response)
        {
            sum.Add(piece.Span);
            yield return piece;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(tail, sum.Value);
        yield return tail;
    }

    /// <summary>Reads the <see cref="Head"/> bytes of a head. False when it is none.</summary>
    public static bool TryReadHead(ReadOnlySpan<byte> head, out XdsMessageKind kind, out int length)
    {
        kind = (XdsMessageKind)head[0];
        length = BinaryPrimitives.ReadInt32LittleEndian(head[1..]);
        return kind is XdsMessageKind.Response or XdsMessageKind.DeltaResponse && length >= 0 && IsSum(head[Summed..], Crc32C.Of(head[..Summed]));
    }

    /// <summary>Whether these four bytes are this checksum.</summary>
    public static bool IsSum(ReadOnlySpan<byte> written, uint sum) => BinaryPrimitives.ReadUInt32LittleEndian(written) == sum;

    /// <summary>
    /// The first record of a journal: its response, and what follows it. False at the end, and then says which: half a record, zeros (space that a file system had given and not
    /// filled when the power went), or a last record of which not every page was written are torn.
    /// </summary>
    public static bool TryRead(ref ReadOnlySpan<byte> journal, out XdsMessageKind kind, out ReadOnlySpan<byte> response, out JournalEnd end)
    {
        kind = default;
        response = default;
        end = journal.IsEmpty ? JournalEnd.Whole : JournalEnd.Torn;
        if (journal.Length < Head) { return false; }
        if (!TryReadHead(journal[..Head], out kind, out int length))
        {
            if (journal.ContainsAnyExcept((byte)0)) { end = JournalEnd.Damaged; }
            return false;
        }
        if (journal.Length - Head - Tail < length) { return false; }
        response = journal.Slice(Head, length);
        ReadOnlySpan<byte> rest = journal[(Head + length)..];
        if (!IsSum(rest, Crc32C.Of(response)))
        {
            if (rest.Length > Tail) { end = JournalEnd.Damaged; }
            return false;
        }
        journal = rest[Tail..];
        return true;
    }
}
