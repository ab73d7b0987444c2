using System.Text;
using VmSidecar.Fuzz.Engine;

namespace VmSidecar.Fuzz.Targets;

/// <summary>Every parser of the project that reads what others wrote.</summary>
internal static class FuzzTargets
{
    public static IReadOnlyList<FuzzTarget> All { get; } = [.. DnsTargets.All, .. WireTargets.All, .. XdsTargets.All, .. ConfigurationTargets.All, .. HostTargets.All, .. WasmTargets.All];

    /// <summary>The targets of these names; all for none. Throws for a name that is none.</summary>
    public static IEnumerable<FuzzTarget> Named(IReadOnlyCollection<string> names)
    {
        foreach (string name in names)
        {
            if (!All.Any(t => t.Name == name)) { throw new ArgumentException($"no target '{name}'; there are: {string.Join(' ', All.Select(t => t.Name))}"); }
        }
        return names.Count == 0 ? All : All.Where(t => names.Contains(t.Name));
    }

    /// <summary>A new empty folder, in memory where there is such a place: on a disk its journal is the slowest part of a run. The caller deletes it.</summary>
    internal static string Folder() => Directory.CreateDirectory(Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), "vmsidecar-fuzz-" + Path.GetRandomFileName())).FullName;

    internal static string Text(byte[] input) => Encoding.UTF8.GetString(input);

    internal static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    /// <summary>Words as tokens.</summary>
    internal static byte[][] Words(params string[] words) => [.. words.Select(Utf8)];

    internal static Func<IEnumerable<byte[]>> Seeds(params string[] texts) => () => texts.Select(Utf8);
}
