using System.Globalization;

namespace VmSidecar.Iptables;

/// <summary>The user and group a process acts as, which its sockets and its children inherit.</summary>
/// <param name="Uid">Effective user id.</param>
/// <param name="Gid">Effective group id.</param>
internal readonly record struct ProcessOwner(uint Uid, uint Gid)
{
    /// <summary>Of this process: second number of <c>Uid:</c> and <c>Gid:</c> in /proc/self/status (proc(5)).</summary>
    public static ProcessOwner Current()
    {
        string[] lines = File.ReadAllLines("/proc/self/status");
        return new(Effective(lines, "Uid:"), Effective(lines, "Gid:"));
    }

    private static uint Effective(string[] lines, string key) =>
        uint.Parse(lines.First(l => l.StartsWith(key, StringComparison.Ordinal)).Split('\t')[2], CultureInfo.InvariantCulture);
}
