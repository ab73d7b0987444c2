namespace VmSidecar.Fuzz.Engine;

/// <summary>Chooses few small inputs that together reach what all of them reach: the corpus that is committed.</summary>
internal static class CorpusPruner
{
    /// <summary>The most inputs kept for one target: replaying all of them is part of every test run.</summary>
    public const int Most = 40;

    /// <summary>Greedy: of what adds most, the smallest.</summary>
    public static List<byte[]> Choose(FuzzTarget target, IEnumerable<byte[]> inputs)
    {
        var coverage = new Coverage();
        List<(byte[] Input, HashSet<int> Left)> all = [];
        foreach (byte[] input in inputs.Where(i => i.AsSpan().IndexOf("PRIVATE KEY"u8) < 0).OrderBy(i => i.Length)) // what looks like a key stays out of the repository
        {
            coverage.Clear();
            target.Run(input);
            all.Add((input, [.. coverage.Taken()]));
        }
        List<byte[]> chosen = [];
        while (chosen.Count < Most && all.Count > 0)
        {
            (byte[] best, HashSet<int> adds) = all.MaxBy(a => a.Left.Count * 1000 / (a.Input.Length + 100));
            if (adds.Count == 0) { break; }
            chosen.Add(best);
            int[] covered = [.. adds];
            foreach ((_, HashSet<int> left) in all) { left.ExceptWith(covered); }
            all.RemoveAll(a => a.Left.Count == 0);
        }
        return chosen;
    }
}
