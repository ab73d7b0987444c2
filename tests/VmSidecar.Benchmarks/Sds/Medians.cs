namespace VmSidecar.Benchmarks.Sds;

/// <summary>Pure: the middle of a few measurements.</summary>
internal static class Medians
{
    /// <summary>The median; of an even number the upper one.</summary>
    public static double Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }
}
