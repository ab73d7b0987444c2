namespace VmSidecar.Dns;

/// <summary>An encoded name table as it came, kept for the disk, for <c>/debug/ndsz</c>, and to know whether the next is the same.</summary>
internal sealed class SentTable(int length) : Counted
{
    private readonly TableMemory _memory = new(length);

    /// <summary>The message. Only its maker writes to it, before anybody else has it.</summary>
    public Span<byte> Bytes => _memory.Span;

    /// <summary>The same, for a file.</summary>
    public ReadOnlyMemory<byte> Memory => _memory.Memory;

    public static SentTable Copy(ReadOnlySpan<byte> message)
    {
        var copy = new SentTable(message.Length);
        Breather.Copy(message, copy.Bytes);
        return copy;
    }

    protected override void Free() => _memory.Free();
}
