using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace VmSidecar.Dns;

/// <summary>The text form of <see cref="VipAssignments"/> on disk: a first line with the version, then one host a line with slot and, when resting, Unix seconds. Pure.</summary>
internal static class VipFile
{
    private const string Version = "vmsidecar-vips 1";

    public static string Write(VipAssignments vips)
    {
        var text = new StringBuilder(Version).Append('\n');
        foreach ((string host, int slot) in vips.Hosts) { text.Append(CultureInfo.InvariantCulture, $"{host} {slot}\n"); }
        foreach ((string host, RestingVip rest) in vips.Resting) { text.Append(CultureInfo.InvariantCulture, $"{host} {rest.Slot} {rest.Since.ToUnixTimeSeconds()}\n"); }
        return text.ToString();
    }

    /// <summary>Null when the file is not one of ours or contradicts itself: two hosts must never share an address.</summary>
    public static VipAssignments? Read(string text)
    {
        string[] lines = text.Split('\n');
        if (lines[0] != Version || lines[^1].Length > 0) { return null; } // the end of a cut file is missing
        ImmutableSortedDictionary<string, int>.Builder inUse = VipAssignments.Empty.Hosts.ToBuilder();
        ImmutableSortedDictionary<string, RestingVip>.Builder resting = VipAssignments.Empty.Resting.ToBuilder();
        HashSet<int> slots = [];
        foreach (string line in lines[1..^1])
        {
            string[] words = line.Split(' ');
            if (words.Length is not 2 and not 3 || words[0].Length == 0 || !int.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out int slot)) { return null; }
            if (slot >= VipAllocator.Slots || !slots.Add(slot) || inUse.ContainsKey(words[0]) || resting.ContainsKey(words[0])) { return null; }
            if (words.Length == 2) { inUse[words[0]] = slot; continue; }
            if (!long.TryParse(words[2], NumberStyles.None, CultureInfo.InvariantCulture, out long since) || since > 253402300799) { return null; }
            resting[words[0]] = new(slot, DateTimeOffset.FromUnixTimeSeconds(since));
        }
        return new(inUse.ToImmutable(), resting.ToImmutable());
    }
}
