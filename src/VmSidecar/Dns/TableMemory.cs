using VmSidecar.Linux.Memory;

namespace VmSidecar.Dns;

/// <summary>
/// The bytes of one part of a table: a small one in an array, a large one outside the managed heap, where it neither makes the collector stop the queries nor
/// stays behind when the next table takes its place. All zero at first. One owner, who frees it; touching a large one after that throws.
/// </summary>
internal sealed class TableMemory(int length)
{
    /// <summary>Bytes from which it lies outside: below what the collector takes for large.</summary>
    public const int Large = 64 * 1024;

    private byte[] _array = length < Large ? new byte[length] : [];
    private MappedMemory? _mapped = length < Large ? null : new MappedMemory(length);

    public Span<byte> Span => _mapped is { } mapped ? mapped.GetSpan() : _array;

    public Memory<byte> Memory => _mapped is { } mapped ? mapped.Memory : _array;

    /// <summary>Makes it longer. Spans taken before are invalid.</summary>
    public void Grow(int length)
    {
        if (_mapped is { } mapped) { mapped.Resize(length); }
        else if (length < Large) { Array.Resize(ref _array, length); }
        else
        {
            var larger = new MappedMemory(length);
            _array.CopyTo(larger.GetSpan());
            (_array, _mapped) = ([], larger);
        }
    }

    public void Free() => _mapped?.Free();
}
