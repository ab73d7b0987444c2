using VmSidecar.Linux.Files;

using Xunit;

namespace VmSidecar.Tests.Linux;

public sealed class AtomicFileTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vsc-atomic-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.UserWrite)]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead)]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite)]
    public async Task A_new_file_has_the_content_and_exactly_the_mode_asked(UnixFileMode mode)
    {
        string path = Path.Combine(_folder.FullName, "key.pem");

        await AtomicFile.WriteAsync(path, "secret"u8.ToArray(), mode, TestContext.Current.CancellationToken);

        Assert.Equal("secret", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));
        Assert.Equal(mode, File.GetUnixFileMode(path));
    }

    [Fact]
    public async Task Pieces_of_any_size_follow_each_other()
    {
        string path = Path.Combine(_folder.FullName, "journal");
        byte[] all = new byte[400_000], piece = new byte[100_000];
        new Random(1).NextBytes(all);
        IEnumerable<ReadOnlyMemory<byte>> Pieces() // one is valid until the next is asked for
        {
            for (int at = 0, size = 1; at < all.Length; at += size, size = (size * 7 % 70_001) + 1)
            {
                size = Math.Min(size, all.Length - at);
                all.AsSpan(at, size).CopyTo(piece);
                yield return piece.AsMemory(0, size);
            }
        }

        await AtomicFile.WriteAsync(path, Pieces(), UnixFileMode.UserRead, TestContext.Current.CancellationToken);

        Assert.Equal(all, await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task An_old_file_of_a_wider_mode_is_replaced_and_nothing_else_is_left()
    {
        string path = Path.Combine(_folder.FullName, "state");
        await File.WriteAllTextAsync(path, "a longer old content", TestContext.Current.CancellationToken);
        File.SetUnixFileMode(path, (UnixFileMode)0x1FF);

        await AtomicFile.WriteAsync(path, "new"u8.ToArray(), UnixFileMode.UserRead, TestContext.Current.CancellationToken);

        Assert.Equal("new", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));
        Assert.Equal(UnixFileMode.UserRead, File.GetUnixFileMode(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.FullName));
    }

    [Fact]
    public async Task A_link_is_replaced_and_its_target_stays()
    {
        string target = Path.Combine(_folder.FullName, "target"), link = Path.Combine(_folder.FullName, "link");
        await File.WriteAllTextAsync(target, "kept", TestContext.Current.CancellationToken);
        File.CreateSymbolicLink(link, target);

        await AtomicFile.WriteAsync(link, "own"u8.ToArray(), UnixFileMode.UserRead | UnixFileMode.UserWrite, TestContext.Current.CancellationToken);

        Assert.Null(new FileInfo(link).LinkTarget);
        Assert.Equal("kept", await File.ReadAllTextAsync(target, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_failed_write_leaves_the_old_file_and_no_temporary_one()
    {
        string path = Path.Combine(_folder.FullName, "state");
        await File.WriteAllTextAsync(path, "old", TestContext.Current.CancellationToken);

        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => AtomicFile.WriteAsync(path, "new"u8.ToArray(), UnixFileMode.UserRead, new CancellationToken(canceled: true)));

        Assert.Equal("old", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.FullName));
    }
}
