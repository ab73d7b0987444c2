using VmSidecar.Grpc;
using VmSidecar.Linux.Memory;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>A large message moves to a file while it passes, comes back byte for byte, and leaves nothing: no memory, no file.</summary>
public sealed class SpilledPiecesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-spill-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public Task No_block_is_left() => OwnProcess.RunAsync($"{typeof(SpilledPiecesTests).FullName}.{nameof(Counted)}");

    /// <summary>The body, for a process of its own: the blocks in use are those of all of it.</summary>
    [Fact(Explicit = true)]
    public async Task Counted()
    {
        int before = NativeBlock.InUse;
        await What_was_spilled_comes_back_byte_for_byte(3_000_000, 1);
        await Where_no_file_can_be_made_memory_holds_it();
        Assert.Equal(before, NativeBlock.InUse);
        var pieces = new SpilledPieces(_folder, new PieceList());
        await FillAsync(pieces, new byte[1_200_000], settle: false);
        pieces.Dispose(); // while it is written
        await Test.UntilAsync(() => NativeBlock.InUse == before);
    }

    [Theory]
    [InlineData(100, 0), InlineData(3_000_000, 1), InlineData(9_999_999, 1)]
    public async Task What_was_spilled_comes_back_byte_for_byte(int length, int least)
    {
        byte[] content = new byte[length];
        new Random(length).NextBytes(content);
        var pieces = new SpilledPieces(Path.Combine(_folder, "made", "when", "needed"), new PieceList());
        await FillAsync(pieces, content);
        await pieces.Ready;
        Assert.Equal(length, pieces.Length);
        Assert.True(pieces.Spilled >= least);
        Assert.True(content.AsSpan().SequenceEqual(Whole(pieces)));
        Assert.True(content.AsSpan().SequenceEqual(Whole(pieces))); // and again
        Assert.Empty(Directory.EnumerateFiles(_folder, "*", SearchOption.AllDirectories)); // without a name
        pieces.Dispose();
        pieces.Dispose();
    }

    [Fact]
    public async Task Where_no_file_can_be_made_memory_holds_it()
    {
        string file = Path.Combine(_folder, "file");
        await File.WriteAllTextAsync(file, "no folder");
        byte[] content = new byte[5_000_000];
        new Random(5).NextBytes(content);
        using (var pieces = new SpilledPieces(Path.Combine(file, "below"), new PieceList()))
        {
            await FillAsync(pieces, content);
            Assert.Equal(0, pieces.Spilled);
            Assert.True(content.AsSpan().SequenceEqual(Whole(pieces)));
        }
    }

    [Fact]
    public async Task What_the_disk_cannot_take_stays_in_memory_in_its_place()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("a disk of its own needs root"); }
        await OwnProcess.RunAsync(
        $"{typeof(SpilledPiecesTests).FullName}.{nameof(OnSmallDisk)}", "unshare", "-m", "sh", "-c", $"mount -t tmpfs -o size=2500k none {SmallDisk} && exec \"$@\"", "sh");
    }

    /// <summary>The body, for a process whose <see cref="SmallDisk"/> has room for two chunks of four.</summary>
    [Fact(Explicit = true)]
    public async Task OnSmallDisk()
    {
        int before = NativeBlock.InUse;
        byte[] content = new byte[4 * SpilledPieces.Chunk];
        new Random(6).NextBytes(content);
        using (var pieces = new SpilledPieces(SmallDisk, new PieceList()))
        {
            await FillAsync(pieces, content);
            Assert.Equal(content.Length, pieces.Length);
            Assert.Equal(2 * SpilledPieces.Chunk, pieces.Spilled);
            Assert.True(content.AsSpan().SequenceEqual(Whole(pieces)));
        }
        await Test.UntilAsync(() => NativeBlock.InUse == before);
    }

    private const string SmallDisk = "/mnt"; // in a mount namespace of its own

    [Fact]
    public async Task One_who_can_wait_does_so_only_while_the_disk_is_behind()
    {
        using var pieces = new SpilledPieces(_folder, new PieceList(), chunk: 1000);
        Assert.True(pieces.Caught.IsCompleted);
        pieces.Now.Append(new byte[100_000]);
        pieces.Passed(); // all of it is on its way
        Assert.True(pieces.Caught.IsCompleted);
        pieces.Now.Append(new byte[8_001]);
        Assert.Same(pieces.Ready, pieces.Caught);
        await pieces.Caught;
        pieces.Passed();
        await pieces.Ready;
        Assert.Equal((108_001, 108_001), (pieces.Length, pieces.Spilled));
    }

    private static byte[] Whole(SpilledPieces pieces)
    {
        using var whole = new MemoryStream();
        foreach (ReadOnlyMemory<byte> piece in pieces.Pieces) { whole.Write(piece.Span); }
        return whole.ToArray();
    }

    private static async Task FillAsync(SpilledPieces pieces, byte[] content, bool settle = true)
    {
        for (int at = 0; at < content.Length;)
        {
            Memory<byte> room = pieces.Now.Room();
            int length = Math.Min(Math.Min(room.Length, 16_384), content.Length - at);
            content.AsMemory(at, length).CopyTo(room);
            pieces.Now.Advance(length);
            Assert.True(content.AsSpan(at, length).SequenceEqual(pieces.Now.Last(length).Span));
            pieces.Passed();
            if (settle) { await pieces.Ready; }
            at += length;
        }
    }
}
