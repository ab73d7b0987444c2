using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

using VmSidecar.Linux.Memory;

using Xunit;

namespace VmSidecar.Tests.Linux.Memory;

/// <summary>Mapped memory goes back to the kernel whole, whatever its length.</summary>
public sealed class MappedMemoryTests
{
    [Fact]
    public Task Nothing_of_it_stays_mapped() => OwnProcess.RunAsync($"{typeof(MappedMemoryTests).FullName}.{nameof(Freed)}");

    /// <summary>The body, for a process of its own: elsewhere another thread may map the same addresses at once.</summary>
    [Fact(Explicit = true)]
    public void Freed()
    {
        foreach (int length in (ReadOnlySpan<int>)[1, 4096, 4097, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (9 << 20) + 5, 12 << 20])
        {
            long before = MappedMemory.InUse;
            var memory = new MappedMemory(length);
            memory.GetSpan().Fill(7);
            long from = Unsafe.ByteOffset(ref Unsafe.NullRef<byte>(), ref MemoryMarshal.GetReference(memory.GetSpan()));
            Assert.Contains(Maps(), m => m.From <= from && m.To >= from + length);
            memory.Free();
            Assert.DoesNotContain(Maps(), m => m.From < from + length && m.To > from);
            memory.Free();
            Assert.Equal(before, MappedMemory.InUse);
            Assert.Throws<ObjectDisposedException>(() => memory.GetSpan().Length);
        }
    }

    private static List<(long From, long To)> Maps() => [.. File.ReadLines("/proc/self/maps").Select(line => line[..line.IndexOf(' ', StringComparison.Ordinal)].Split('-')).Select(p => (Hex(p[0]), Hex(p[1])))];

    private static long Hex(string text) => long.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
