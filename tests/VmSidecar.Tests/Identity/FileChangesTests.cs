using VmSidecar.Identity;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>Real files and inotify; the regular look (30 s) is longer than a test should take, so a missed event shows as a slow test and, past the deadline, as a failure.</summary>
public sealed class FileChangesTests
{
    [Fact]
    public async Task Sees_writing_in_place_renaming_over_and_removing()
    {
        using var folder = new Folder();
        string file = folder.At("token");
        File.WriteAllText(file, "1");
        using var changes = new FileChanges([file], TimeProvider.System);
        await NextAsync(changes, () => File.WriteAllText(file, "2"));
        await NextAsync(changes, () =>
        {
            File.WriteAllText(file + ".new", "3");
            File.Move(file + ".new", file, overwrite: true);
        });
        await NextAsync(changes, () => File.WriteAllText(file, "4")); // the watch was not lost with the old file
        await NextAsync(changes, () => File.Delete(file));
        await NextAsync(changes, () => File.WriteAllText(file, "5"));
    }

    [Fact]
    public async Task Sees_a_folder_that_comes_later()
    {
        using var folder = new Folder();
        string file = folder.At("run", "secrets", "tokens", "istio-token");
        using var changes = new FileChanges([file], TimeProvider.System);
        await NextAsync(changes, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, "1");
        });
        await NextAsync(changes, () => File.WriteAllText(file, "2"));
    }

    [Fact]
    public async Task Sees_fifty_swaps_of_a_link_as_kubernetes_makes_them()
    {
        using var folder = new Folder();
        Directory.CreateDirectory(folder.At("v0"));
        File.WriteAllText(folder.At("v0", "cert.pem"), "0");
        Directory.CreateSymbolicLink(folder.At("..data"), "v0");
        File.CreateSymbolicLink(folder.At("cert.pem"), "..data/cert.pem");
        using var changes = new FileChanges([folder.At("cert.pem")], TimeProvider.System);
        for (int i = 1; i <= 50; i++)
        {
            int version = i;
            await NextAsync(changes, () =>
            {
                Directory.CreateDirectory(folder.At($"v{version}"));
                File.WriteAllText(folder.At($"v{version}", "cert.pem"), $"{version}");
                Directory.CreateSymbolicLink(folder.At("..tmp"), $"v{version}");
                Links.Rename(folder.At("..tmp"), folder.At("..data"));
                Directory.Delete(folder.At($"v{version - 1}"), recursive: true);
            });
            Assert.Equal($"{version}", File.ReadAllText(folder.At("cert.pem")));
        }
    }

    [Fact]
    public void Every_link_on_the_way_is_watched_and_loops_end()
    {
        using var folder = new Folder();
        Directory.CreateDirectory(folder.At("a", "real"));
        Directory.CreateDirectory(folder.At("b"));
        File.WriteAllText(folder.At("a", "real", "f"), "");
        Directory.CreateSymbolicLink(folder.At("b", "link"), "../a/real");
        File.CreateSymbolicLink(folder.At("loop"), "loop");
        Assert.Equal([folder.At("a", "real"), folder.At("b")], FileChanges.FoldersOf(folder.At("b", "link", "f")).Order());
        Assert.Equal([folder.Path], FileChanges.FoldersOf(folder.At("loop")));
        Assert.Equal([folder.At("b")], FileChanges.FoldersOf(folder.At("b", "none", "at", "all")));
    }

    private static async Task NextAsync(FileChanges changes, Action act)
    {
        Task changed = changes.ChangedAsync(CancellationToken.None);
        act();
        await changed.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task A_folder_that_cannot_be_watched_is_told_once_and_its_files_are_looked_at_all_the_same()
    {
        using var folder = new Folder();
        var time = new ManualTimeProvider();
        List<string> told = [];
        File.WriteAllText(folder.At("f"), "1");
        using var changes = new FileChanges([folder.At("f")], time, (where, why) => told.Add($"{where}: {why}"), _ => throw new IOException("The configured user limit on the number of inotify watches has been reached"));
        Task changed = changes.ChangedAsync(CancellationToken.None);
        File.WriteAllText(folder.At("f"), "2");
        while (!changed.IsCompleted)
        {
            Task<TimeSpan> timer = time.NextTimerAsync(Test.Deadline);
            if (await Task.WhenAny(changed, timer) == timer) { time.Advance(await timer); }
        }
        await changed;
        Assert.Equal([$"{folder.Path}: The configured user limit on the number of inotify watches has been reached"], told);
    }
}
