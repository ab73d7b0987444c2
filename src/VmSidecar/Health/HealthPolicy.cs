namespace VmSidecar.Health;

/// <summary>Turns probe results into verdicts. Pure: state in, state out. A counter that <em>equals</em> its threshold flips the state; only flips are told.</summary>
/// <param name="SuccessThreshold">Successes in a row that make it healthy.</param>
/// <param name="FailureThreshold">Failures in a row that make it unhealthy.</param>
internal sealed record HealthPolicy(int SuccessThreshold, int FailureThreshold)
{
    /// <summary>What the policy remembers.</summary>
    /// <param name="Verdict">Null before the first verdict.</param>
    /// <param name="Successes">In a row.</param>
    /// <param name="Failures">In a row.</param>
    public readonly record struct Memory(bool? Verdict, int Successes, int Failures);

    /// <summary>The memory after one more result; <c>Flipped</c> when that is news.</summary>
    public (Memory Next, bool Flipped) After(Memory memory, bool success)
    {
        if (success)
        {
            int successes = memory.Successes + 1;
            return successes == SuccessThreshold && memory.Verdict != true
                ? (new Memory(true, 0, 0), true)
                : (new Memory(memory.Verdict, successes, 0), false);
        }
        int failures = memory.Failures + 1;
        return failures == FailureThreshold && memory.Verdict != false
            ? (new Memory(false, 0, 0), true)
            : (new Memory(memory.Verdict, 0, failures), false);
    }
}
