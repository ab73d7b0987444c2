using System.Text;

using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Files;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Replaces a journal (<see cref="KeptResources"/>) by one record that stands for all of it, without holding it in memory: (1) reads it once for where the
/// latest of each resource is, (2) copies those, in pieces, into the new file.
/// </summary>
internal sealed class JournalCompaction : IFieldVisitor
{
    private const int Buffer = 256 * 1024;
    private const int Resources = 2, TypeUrl = 4, Removed = 6; // of a response
    private const int ResourceAny = 2, ResourceName = 3;       // of Resource

    private readonly Dictionary<string, (long Offset, int Length)> _anys = new(StringComparer.Ordinal); // by resource name
    private readonly string _type;
    private long _position; // in the journal, of the next byte to come
    private bool _delta;    // of the record at hand
    private string _recordType = "";

    private JournalCompaction(string type) => _type = type;

    /// <summary>Compacts one journal. False when it is damaged or of another type; it is left as it is then.</summary>
    public static async Task<bool> TryRunAsync(string file, string typeUrl, UnixFileMode mode, CancellationToken cancel)
    {
        var compaction = new JournalCompaction(typeUrl);
        await using var journal = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        if (!await compaction.ScanAsync(journal, cancel)) { return false; }
        await AtomicFile.WriteAsync(file, JournalRecord.Of(XdsMessageKind.DeltaResponse, compaction.Length, compaction.Pieces(journal)), mode, cancel);
        return true;
    }

    bool IFieldVisitor.Wants(int number) => number is Resources or TypeUrl or Removed;

    void IFieldVisitor.Raw(ReadOnlySpan<byte> bytes) => _position += bytes.Length;

    bool IFieldVisitor.Field(int number, ReadOnlySpan<byte> field, int body)
    {
        long begin = _position + body;
        _position += field.Length;
        ReadOnlySpan<byte> content = field[body..];
        if (number == Resources) { return _delta ? TakeNamed(begin, content) : TakeAny(begin, content); }
        if (number == TypeUrl) { _recordType = Encoding.UTF8.GetString(content); }
        else if (_delta) { _anys.Remove(Encoding.UTF8.GetString(content)); }
        return true;
    }

    private async Task<bool> ScanAsync(FileStream journal, CancellationToken cancel)
    {
        byte[] head = new byte[JournalRecord.Head], tail = new byte[JournalRecord.Tail], buffer = new byte[Buffer];
        while (await journal.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancel) is not 0 and int read)
        {
            if (read < head.Length || !JournalRecord.TryReadHead(head, out XdsMessageKind kind, out int left)) { return false; }
            (_delta, _recordType) = (kind == XdsMessageKind.DeltaResponse, "");
            if (KeptResources.IsWhole(kind, _type)) { _anys.Clear(); }
            _position = journal.Position;
            using var fields = new FieldSplitter(this, left);
            Crc32C sum = Crc32C.Begin;
            while (left > 0)
            {
                int got = await journal.ReadAsync(buffer.AsMemory(0, Math.Min(left, buffer.Length)), cancel);
                if (got == 0 || !fields.Feed(buffer.AsSpan(0, got))) { return false; }
                sum.Add(buffer.AsSpan(0, got));
                left -= got;
            }
            if (!fields.IsComplete || _recordType != _type) { return false; }
            if (await journal.ReadAtLeastAsync(tail, tail.Length, throwOnEndOfStream: false, cancel) < tail.Length || !JournalRecord.IsSum(tail, sum.Value)) { return false; }
        }
        return true;
    }

    private bool TakeNamed(long begin, ReadOnlySpan<byte> resource)
    {
        string name = "";
        (long, int)? any = null;
        var reader = new ProtoReader(resource);
        while (reader.Next())
        {
            if (reader.Is(ResourceName)) { name = Encoding.UTF8.GetString(reader.Bytes); }
            else if (reader.Is(ResourceAny)) { any = (begin + reader.BodyStart, reader.Bytes.Length); }
        }
        if (any is { } place) { _anys[name] = place; }
        return !reader.IsMalformed;
    }

    private bool TakeAny(long begin, ReadOnlySpan<byte> any)
    {
        if (!KeptResources.TryName(any, out string name)) { return false; }
        _anys[name] = (begin, any.Length);
        return true;
    }

    private int Length => checked((int)(Type.Length + _anys.Sum(a => (long)Before(a.Key, a.Value.Length).Length + a.Value.Length + Name(a.Key).Length)));

    private byte[] Type => new ProtoWriter().String(TypeUrl, _type).ToArray();

    /// <summary>The new response; a piece is valid until the next is asked for.</summary>
    private IEnumerable<ReadOnlyMemory<byte>> Pieces(FileStream journal)
    {
        byte[] buffer = new byte[Buffer];
        SafeFileHandle file = journal.SafeFileHandle; // asking for it costs a system call
        foreach ((string name, (long offset, int size)) in _anys)
        {
            yield return Before(name, size);
            for (int done = 0; done < size;)
            {
                int read = RandomAccess.Read(file, buffer.AsSpan(0, Math.Min(buffer.Length, size - done)), offset + done);
                if (read == 0) { throw new EndOfStreamException("the journal became shorter while it was read"); }
                yield return buffer.AsMemory(0, read);
                done += read;
            }
            yield return Name(name);
        }
        yield return Type;
    }

    private static byte[] Name(string name) => new ProtoWriter().String(ResourceName, name).ToArray();

    // Tag and length of the Resource and of the Any in it.
    private static byte[] Before(string name, int anyLength)
    {
        var any = new ProtoWriter().Tag(ResourceAny, anyLength);
        return new ProtoWriter().Tag(Resources, any.Written.Length + anyLength + Name(name).Length).Append(any.Written.Span).ToArray();
    }
}
