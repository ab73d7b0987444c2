using VmSidecar.TestKit;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>What is kept on disk is put together again as it was, or as it was a moment earlier, or not at all: never a state that Envoy was not in.</summary>
public sealed class JournalTests : IDisposable
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-journal-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_journal_puts_increments_together_and_compacts()
    {
        byte[] journal = [.. Record(Named("a", 1)), .. Record(Named("b", 2)), .. Record(Named("a", 3)), .. Record(Removed("b"))];
        Assert.Equal(JournalEnd.Whole, KeptResources.Read(XdsTypeUrl.Routes, journal, out KeptResources kept));
        Assert.Equal(new ProtoWriter().Bytes(2, [3]).ToArray(), Assert.Single(kept.ByName).Value);
        string file = Path.Combine(_folder, "RDS.journal");
        await File.WriteAllBytesAsync(file, journal);
        Assert.True(await CompactedAsync(file));
        byte[] compacted = await File.ReadAllBytesAsync(file);
        Assert.Equal(Record(Named("a", 3)).Length, compacted.Length);
        Assert.Equal(JournalEnd.Whole, KeptResources.Read(XdsTypeUrl.Routes, compacted, out KeptResources again));
        Assert.Equal(kept.ByName["a"], Assert.Single(again.ByName).Value);
        for (int length = 1; length < journal.Length; length++)
        {
            await File.WriteAllBytesAsync(file, journal[..length]);
            Assert.Equal(KeptResources.Read(XdsTypeUrl.Routes, journal.AsSpan(0, length), out _) == JournalEnd.Whole, await CompactedAsync(file));
        }
        Assert.Equal(JournalEnd.Damaged, KeptResources.Read(XdsTypeUrl.Cluster, journal, out _));
    }

    [Fact]
    public void Cut_anywhere_it_says_what_was_before()
    {
        (byte[] journal, List<(int End, string State)> states) = Day(records: 20);
        for (int length = 0; length < journal.Length; length++)
        {
            JournalEnd end = KeptResources.Read(XdsTypeUrl.Routes, journal.AsSpan(0, length), out KeptResources kept);
            int whole = states.FindLastIndex(s => s.End <= length);
            Assert.Equal(whole < 0 ? 0 : whole + 1, kept.Responses);
            Assert.Equal(whole < 0 ? "" : states[whole].State, State(kept));
            Assert.Equal(length == 0 || (whole >= 0 && states[whole].End == length) ? JournalEnd.Whole : JournalEnd.Torn, end);
            byte[] zeros = [.. journal[..length], .. new byte[64]]; // space that was given and never filled
            if (end == JournalEnd.Whole) { Assert.Equal((JournalEnd.Torn, State(kept)), (KeptResources.Read(XdsTypeUrl.Routes, zeros, out KeptResources same), State(same))); }
        }
    }

    [Fact]
    public async Task Damaged_anywhere_it_says_what_was_before_the_last_record_or_nothing()
    {
        (byte[] journal, List<(int End, string State)> states) = Day(records: 6);
        string file = Path.Combine(_folder, "RDS.journal");
        for (int at = 0; at < journal.Length; at++)
        {
            foreach (byte flip in (byte[])[0x01, 0x80, 0xFF])
            {
                byte[] damaged = [.. journal];
                damaged[at] ^= flip;
                JournalEnd end = KeptResources.Read(XdsTypeUrl.Routes, damaged, out KeptResources kept);
                Assert.NotEqual(JournalEnd.Whole, end);
                if (end == JournalEnd.Torn) { Assert.Equal((states.Count - 1, states[^2].State), (kept.Responses, State(kept))); }
                if (at < states[^2].End) { Assert.Equal(JournalEnd.Damaged, end); }
            }
            if (at % 7 != 0) { continue; }
            byte[] spoilt = [.. journal];
            spoilt[at] ^= 0x10;
            await File.WriteAllBytesAsync(file, spoilt);
            Assert.False(await CompactedAsync(file));
            Assert.Equal(spoilt, await File.ReadAllBytesAsync(file));
        }
    }

    [Theory, InlineData("torn"), InlineData("damaged"), InlineData("empty")]
    public async Task A_start_uses_what_came_before_a_torn_record_and_says_so(string how)
    {
        string xds = Directory.CreateDirectory(Path.Combine(_folder, "xds")).FullName, clusters = Path.Combine(xds, "CDS.journal");
        byte[] first = Record(Named("a", 1, XdsTypeUrl.Cluster)), second = Record(Named("b", 2, XdsTypeUrl.Cluster));
        await File.WriteAllBytesAsync(Path.Combine(xds, "LDS.journal"), Record(Named("l", 1, XdsTypeUrl.Listener)));
        await File.WriteAllTextAsync(Path.Combine(xds, "seen"), "2026-01-01T00:00:00Z");
        await File.WriteAllBytesAsync(clusters, how switch { "torn" => [.. first, .. second[..^1]], "damaged" => [.. first[..^1], 0xFF, .. second], _ => [] });
        var log = new ListLog();
        var time = new ManualTimeProvider();
        using var keeper = new ResourceKeeper(_folder, time, log.CreateLogger("xdsproxy"));
        OfflineResources? loaded = keeper.Load(TimeSpan.FromDays(36500));
        if (how != "torn")
        {
            Assert.Null(loaded); // no clusters is not the same as nothing known of clusters
            Assert.Equal(how == "damaged", log.Lines.Any(l => l == $"Warning xdsproxy {clusters} is damaged; nothing kept from istiod is used"));
            return;
        }
        Assert.Equal(["a"], loaded!.Types[XdsTypeUrl.Cluster].ByName.Keys);
        Assert.Equal($"Warning xdsproxy {clusters} ends within a record, as after a power cut; the 1 responses before it are used", Assert.Single(log.Lines));
    }

    private static Task<bool> CompactedAsync(string file) => JournalCompaction.TryRunAsync(file, XdsTypeUrl.Routes, Private, CancellationToken.None);

    /// <summary>A journal of increments, and for each record where it ends and what the state is then.</summary>
    private static (byte[] Journal, List<(int End, string State)> States) Day(int records)
    {
        List<byte> journal = [];
        List<(int, string)> states = [];
        for (byte i = 0; i < records; i++)
        {
            journal.AddRange(Record(i % 5 == 4 ? Removed("r" + i % 3) : Named("r" + i % 4, i)));
            Assert.Equal(JournalEnd.Whole, KeptResources.Read(XdsTypeUrl.Routes, journal.ToArray(), out KeptResources kept));
            states.Add((journal.Count, State(kept)));
        }
        return ([.. journal], states);
    }

    private static string State(KeptResources kept) => string.Join(' ', kept.ByName.OrderBy(r => r.Key, StringComparer.Ordinal).Select(r => r.Key + "=" + Convert.ToHexString(r.Value)));

    private static byte[] Record(byte[] message) => [.. JournalRecord.Of(XdsMessageKind.DeltaResponse, message.Length, [message]).SelectMany(p => p.ToArray())];

    private static byte[] Named(string name, byte value, string type = XdsTypeUrl.Routes) =>
        new ProtoWriter().Message(2, new ProtoWriter().String(3, name).Message(2, new ProtoWriter().Bytes(2, [value]))).String(4, type).ToArray();

    private static byte[] Removed(string name) => new ProtoWriter().String(4, XdsTypeUrl.Routes).String(6, name).ToArray();
}
