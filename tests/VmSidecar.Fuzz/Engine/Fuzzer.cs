using System.Diagnostics;

namespace VmSidecar.Fuzz.Engine;

/// <summary>
/// Runs one target for a while: picks an input, changes it, runs it, keeps it when it reached something new. A finding is an exception, an input that
/// takes more CPU or memory than its length explains, or one that never ends; it is saved and the run goes on (but for the last, which ends the process).
/// </summary>
internal sealed class Fuzzer(FuzzTarget target, string output, int seed)
{
    public const int MaxLength = 1 << 16;
    private const int UsualLength = 4096;
    private const long MaxAllocated = 64L << 20;
    private static readonly TimeSpan Slow = TimeSpan.FromSeconds(1), Hung = TimeSpan.FromSeconds(60);
    private const int MaxBlind = 4096; // inputs kept where no coverage tells which are worth it

    private readonly Random _random = new(seed);
    private readonly Coverage _coverage = new();
    private readonly Corpus _found = new(Path.Combine(output, "corpus", target.Name));
    private readonly Corpus _findings = new(Path.Combine(output, "findings", target.Name));
    private readonly HashSet<string> _known = [];
    private readonly List<byte[]> _inputs = [];
    private volatile byte[]? _running;
    private long _began;

    /// <summary>Runs for the given time of CPU; returns the number of different findings.</summary>
    public int Run(TimeSpan time, IEnumerable<byte[]> corpus)
    {
        using var watchdog = new Timer(_ => EndWhenHung(), null, Hung, TimeSpan.FromSeconds(5));
        foreach (byte[] input in corpus.Concat(_found.Load()).Concat(target.Seeds()).Append([])) { Try(input, keep: true); }
        var mutator = new Mutator(_random, MaxLength);
        long runs = 0;
        for (TimeSpan end = Environment.CpuUsage.TotalTime + time; runs % 64 != 0 || Environment.CpuUsage.TotalTime < end;)
        {
            byte[] parent = Pick(), child = mutator.Mutate(parent, Pick(), target.Tokens);
            if (child.Length > Math.Max(UsualLength, parent.Length)) { Array.Resize(ref child, Math.Max(UsualLength, parent.Length)); }
            Try(child, keep: false);
            runs++;
        }
        Console.WriteLine($"{target.Name,-14} {runs,10} runs, {_inputs.Count,5} inputs, {(_coverage.IsOn ? $"{_coverage.Branches,5} branches" : "no coverage")}, {_known.Count} findings");
        return _known.Count;
    }

    private byte[] Pick() => _random.Next(2) == 0 ? _inputs[_random.Next(_inputs.Count)] : _inputs[_random.Next(Math.Max(0, _inputs.Count - 32), _inputs.Count)];

    [System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1031", Justification = "whatever a parser throws is a finding")]
    private void Try(byte[] input, bool keep)
    {
        _coverage.Clear();
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        TimeSpan cpu = Environment.CpuUsage.TotalTime;
        long begin = Stopwatch.GetTimestamp();
        Volatile.Write(ref _began, begin);
        _running = input;
        try { target.Run(input); }
        catch (Exception e) { Report(input, $"{e.GetType().Name}: {e.Message}", Where(e)); }
        _running = null;
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        if (allocated > MaxAllocated) { Report(input, $"{allocated >> 20} MiB allocated for {input.Length} bytes", "memory"); }
        if (Stopwatch.GetElapsedTime(begin) > Slow && Environment.CpuUsage.TotalTime - cpu > Slow) { Report(input, $"{(Environment.CpuUsage.TotalTime - cpu).TotalSeconds:F1} s of CPU for {input.Length} bytes", "time"); }
        bool isNew = _coverage.TakeNew();
        if (!keep && !isNew && (_coverage.IsOn || _inputs.Count >= MaxBlind || _random.Next(64) > 0)) { return; }
        _inputs.Add(input);
        if (!keep && isNew) { _found.Save(input); }
    }

    private void Report(byte[] input, string what, string where)
    {
        if (!_known.Add(where)) { return; }
        Console.WriteLine($"FINDING in {target.Name}: {what}\n  at {where}\n  input {_findings.Save(input)}");
    }

    /// <summary>One finding per place: the first frames of our own.</summary>
    private static string Where(Exception e) => string.Join(" < ", (e.StackTrace ?? "").Split('\n').Where(l => l.Contains("VmSidecar", StringComparison.Ordinal)).Take(2).Select(l => l.Trim()));

    private void EndWhenHung()
    {
        if (_running is not { } input || Stopwatch.GetElapsedTime(Volatile.Read(ref _began)) < Hung) { return; }
        Console.WriteLine($"FINDING in {target.Name}: an input of {input.Length} bytes does not end\n  input {_findings.Save(input, "hang-")}");
        Environment.FailFast("an input does not end");
    }
}
