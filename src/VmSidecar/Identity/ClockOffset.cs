using VmSidecar.Logging;

namespace VmSidecar.Identity;

/// <summary>Pure: what a fresh certificate says about this host's clock. istiod back-dates by one second (1.10) to two minutes (1.31), so there is a range without a verdict.</summary>
internal static class ClockOffset
{
    /// <summary>A Date header has whole seconds and has travelled: nothing smaller can be told from it.</summary>
    private static readonly TimeSpan Resolution = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan LargestBackDate = TimeSpan.FromMinutes(2);

    /// <summary>How far this clock is off at least: positive when ahead of istiod, negative when behind, zero when nothing can be said.</summary>
    /// <param name="notBefore">Of the certificate just issued.</param>
    /// <param name="sent">Local time the request left.</param>
    /// <param name="answered">Local time the answer came.</param>
    public static TimeSpan AtLeast(DateTimeOffset notBefore, DateTimeOffset sent, DateTimeOffset answered)
    {
        TimeSpan ahead = sent - notBefore - LargestBackDate;
        TimeSpan behind = answered - notBefore;
        return ahead > TimeSpan.Zero ? ahead : behind < TimeSpan.Zero ? behind : TimeSpan.Zero;
    }

    /// <summary>The same from a Date header the server sent: exact to its resolution, zero within it.</summary>
    public static TimeSpan Measured(DateTimeOffset date, DateTimeOffset now) => (now - date).Duration() <= Resolution ? TimeSpan.Zero : now - date;

    /// <summary>The offset in words; empty when it is within <paramref name="tolerance"/>.</summary>
    public static string Words(TimeSpan offset, TimeSpan tolerance) =>
        offset.Duration() <= tolerance ? "" : $"this clock is {GoDuration.Format(TimeSpan.FromSeconds(Math.Round(offset.Duration().TotalSeconds)))} {(offset > TimeSpan.Zero ? "ahead of" : "behind")} istiod's";
}
