using System.Globalization;

using VmSidecar.Linux.Memory;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>
/// Every fault at every stage in both protocols, again and again, and what is left each time: descriptors by kind, blocks, timers and heap of the process, and
/// of each relay the streams it serves, has open or holds on to. The ten stages run side by side, fault by fault, so that a round costs what the slowest does.
/// </summary>
public sealed class FaultLeakTests
{
    private const int Rounds = 2; // after the one that makes what is made once; each is ten strikes, and as many new Envoys and own streams as these need
    private const int Growth = 4 * 1024 * 1024; // bytes of heap over all rounds, some 400 streams: ends that the doubles remember and what arrays happen to be pooled. Exact is what is counted


    private const int TimersEach = 4; // the keeper's, two of HttpClient's for the stream to istiod, and the double's for the entry of a VM that has left; fewer while a keeper writes

    [Fact]
    public Task Nothing_is_left_after_any_fault_at_any_stage() => OwnProcess.RunWithFewPooledArraysAsync($"{typeof(FaultLeakTests).FullName}.{nameof(Measured)}");

    /// <summary>The body, for a process of its own.</summary>
    [Fact(Explicit = true)]
    public async Task Measured()
    {
        List<FaultStage> stages = [];
        try
        {
            foreach (string stage in FaultStage.Stages)
            {
                foreach (bool delta in (bool[])[false, true]) { stages.Add(await FaultStage.StartedAsync(stage, delta)); }
            }
            foreach (string fault in FaultStage.Faults) { await RoundAsync(stages, fault); }
            Held first = await SettledAsync(stages, "once each", null), before = first;
            foreach (string fault in FaultStage.Faults)
            {
                for (int i = 0; i < Rounds; i++) { await RoundAsync(stages, fault); }
                before = await SettledAsync(stages, fault, before with { Heap = first.Heap });
            }
        }
        finally
        {
            foreach (FaultStage stage in stages) { await stage.DisposeAsync(); }
        }
    }

    private static Task RoundAsync(List<FaultStage> stages, string fault) => Task.WhenAll(stages.Select(s => s.SurviveAsync(fault)));

    /// <summary>Each relay has its own stream and nothing else, and the process holds no more than before. The kernel's and Kestrel's ends close behind ours, so both are waited for.</summary>
    private static async Task<Held> SettledAsync(List<FaultStage> stages, string fault, Held? before)
    {
        foreach (FaultStage stage in stages)
        {
            try { await Test.UntilAsync(() => stage.Served == "0" && stage.Bench.Dialer.Open == 1 && stage.Bench.Istiod.Front.Open == 1); }
            catch (OperationCanceledException) { Assert.Fail($"{fault}, {Left(stage)}"); }
            stage.Bench.Log.Clear();
        }
        Held now = Held.Now();
        int timers = TimersEach * stages.Count + 1; // one is of the deadline below
        bool IsDown() => (now = Held.Now()).IsNoMore(before ?? now) && now.Timers <= timers && stages.TrueForAll(s => s.Bench.Dialer.Reachable == 1);
        try { await Test.UntilAsync(IsDown); }
        catch (OperationCanceledException) { Assert.Fail($"{fault}: {before} before, {now} after {Rounds} rounds more; {string.Join("; ", stages.Select(Left))}"); }
        return now;
    }

    private static string Left(FaultStage stage) => string.Create(CultureInfo.InvariantCulture,
        $"{stage.Name}: streams served {stage.Served}, open to istiod {stage.Bench.Dialer.Open}, reachable {stage.Bench.Dialer.Reachable}, connections {stage.Bench.Istiod.Front.Open}");

    /// <summary>What the process holds.</summary>
    private sealed record Held(IReadOnlyDictionary<string, int> Descriptors, int Blocks, long Timers, long Heap)
    {
        private const string Code = "code"; // loaded when it is first needed

        public static Held Now()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
            var kinds = new DirectoryInfo("/proc/self/fd").EnumerateFileSystemInfos().Select(f => Kind(f.LinkTarget)).Where(k => k != Code).CountBy(k => k).ToDictionary(StringComparer.Ordinal);
            return new Held(kinds, NativeBlock.InUse, Timer.ActiveCount, GC.GetTotalMemory(forceFullCollection: false));
        }

        /// <summary>No count is higher than before, and the heap hardly.</summary>
        public bool IsNoMore(Held before) =>
            Descriptors.All(d => d.Value <= before.Descriptors.GetValueOrDefault(d.Key)) && Blocks <= before.Blocks && Heap - before.Heap < Growth;

        public override string ToString() => $"{string.Join(", ", Descriptors.OrderBy(d => d.Key, StringComparer.Ordinal).Select(d => $"{d.Value} {d.Key}"))}, {Blocks} blocks, {Timers} timers, {Heap / 1024} KB of heap";

        // "socket:[1234]", "pipe:[5]", "anon_inode:[eventpoll]", "/memfd:name (deleted)", "/path"; the runtime keeps the files of code it has loaded open.
        private static string Kind(string? target) => target switch
        {
            null => "gone",
            _ when target.StartsWith("/memfd:", StringComparison.Ordinal) => "memfd",
            _ when target.StartsWith("anon_inode:", StringComparison.Ordinal) => target,
            _ when target.StartsWith('/') => Path.GetExtension(target) is ".dll" or ".pdb" ? Code : target,
            _ => target.Split(':')[0],
        };
    }
}
