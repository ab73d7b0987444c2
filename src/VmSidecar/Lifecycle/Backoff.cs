namespace VmSidecar.Lifecycle;

/// <summary>Exponential delays with jitter. Pure: the randomness is an argument (0 inclusive to 1 exclusive).</summary>
/// <param name="First">Delay after the first failure, before jitter.</param>
/// <param name="Cap">Largest delay before jitter.</param>
/// <param name="Factor">Growth per further failure.</param>
/// <param name="Jitter">Share of the delay that is random: 0.5 gives 50 % to 150 %; 1 means full jitter, 0 % to 100 %.</param>
internal sealed record Backoff(TimeSpan First, TimeSpan Cap, double Factor = 2, double Jitter = 0.5)
{
    /// <summary>The delay before attempt number <paramref name="failures"/> + 1; zero when nothing has failed yet.</summary>
    public TimeSpan After(int failures, double random)
    {
        if (failures <= 0) { return TimeSpan.Zero; }
        double ticks = Math.Min(Cap.Ticks, First.Ticks * Math.Pow(Factor, Math.Min(failures - 1, 64)));
        double share = Jitter >= 1 ? random : 1 + Jitter * (2 * random - 1);
        return TimeSpan.FromTicks((long)(ticks * share));
    }
}
