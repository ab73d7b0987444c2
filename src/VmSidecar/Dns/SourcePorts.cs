using System.Globalization;

namespace VmSidecar.Dns;

/// <summary>
/// Chooses source ports for upstream sockets at random, outside the range the kernel hands to applications: an application datagram with
/// the same source port towards the same resolver would match our connection-tracking entry and slip past the capture rules where they
/// have no zones (reference 04 trap 19). Above the range where there is space, since well-known services live below it.
/// </summary>
internal sealed class SourcePorts(int first, int last)
{
    private const int Enough = 1000; // ports that make guessing one worthless together with a random id

    public int First { get; } = first;

    public int Last { get; } = last;

    /// <summary>The range that leaves the ephemeral one (<c>ip_local_port_range</c>, e.g. "32768 60999") alone.</summary>
    public static SourcePorts Outside(string ephemeral)
    {
        string[] words = ephemeral.Split([' ', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries);
        if (words.Length < 2 || !int.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out int low)
            || !int.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out int high)) { (low, high) = (32768, 60999); }
        if (high + Enough <= ushort.MaxValue) { return new(high + 1, ushort.MaxValue); }
        if (low - Enough > 10000) { return new(Math.Max(10000, low - 8000), low - 1); }
        return new(61000, ushort.MaxValue); // the range takes nearly everything: share its upper end
    }

    public int Next() => System.Security.Cryptography.RandomNumberGenerator.GetInt32(First, Last + 1);
}
