using System.Collections.Immutable;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>A folder that takes no file: rules go all the same, and what is on is never said to be off. Root is refused by a folder where the file should be.</summary>
public sealed class CaptureNotesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-notes-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_lock_that_may_not_be_made_keeps_clean_from_nothing_and_apply_from_all()
    {
        if (!Environment.IsPrivilegedProcess) { Assert.Skip("others than root may not change rules either, and are told so"); }
        Directory.CreateDirectory(Path.Combine(_folder, "capture.lock"));
        var nft = new Nft { Listed = "table inet vmsidecar {\n}\n" };
        var said = new List<string>();
        var runner = new IptablesRunner(nft, _folder, TimeProvider.System) { Kernel = new(nft) { Exists = name => name == "nft" }, Advise = said.Add };
        await Assert.ThrowsAsync<FatalException>(() => runner.ApplyAsync(CaptureLab.Options, CancellationToken.None));
        Assert.Empty(nft.Loaded);
        Assert.True(await runner.CleanAsync(CancellationToken.None));
        Assert.Equal(["delete table inet vmsidecar\n"], nft.Loaded);
        Assert.Contains("going on without the lock", Assert.Single(said), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rules_that_were_loaded_and_cannot_be_noted_stay_and_are_loaded_anew_next_time()
    {
        string unfinished = Path.Combine(_folder, "capture.nft.new");
        var nft = new Nft { Listed = "table inet vmsidecar {\n}\n" };
        nft.WhenLoaded = () =>
        {
            File.Delete(unfinished);
            Directory.CreateDirectory(unfinished);
        };
        var table = new NftablesTable(nft, new(_folder));
        Assert.Null(await table.ApplyAsync("the rules\n", CancellationToken.None));
        Assert.Contains("capture rules are on", table.Unnoted, StringComparison.Ordinal);
        Assert.False((await table.DiffAsync("the rules\n", CancellationToken.None)).IsEmpty);

        Directory.Delete(unfinished);
        nft.WhenLoaded = () => { };
        Assert.Null(await table.ApplyAsync("the rules\n", CancellationToken.None));
        Assert.Null(table.Unnoted);
        Assert.True((await table.DiffAsync("the rules\n", CancellationToken.None)).IsEmpty);
    }

    /// <summary>An nft that loads what it is given; no other program says anything.</summary>
    private sealed class Nft : ICommandRunner
    {
        private ImmutableList<string> _loaded = [];

        public string Listed { get; init; } = "";

        public Action WhenLoaded { get; set; } = () => { };

        public IReadOnlyList<string> Loaded => _loaded;

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            if (program == "nft" && arguments[0] == "-f")
            {
                _loaded = _loaded.Add(input);
                WhenLoaded();
            }
            return Task.FromResult(new CommandResult(0, program == "nft" && arguments[0] != "-f" ? Listed : "", ""));
        }
    }
}
