namespace VmSidecar.Dns;

/// <summary>A setting may say any length of time; a timer takes no more than 49.7 days and throws above. Pure.</summary>
internal static class LongWait
{
    private static readonly TimeSpan Longest = TimeSpan.FromMilliseconds(uint.MaxValue - 1);

    /// <summary>The wait a timer is given: nobody tells seven weeks from more.</summary>
    public static TimeSpan AtMost(TimeSpan wait) => wait < Longest ? wait : Longest;
}
