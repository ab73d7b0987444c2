using System.Collections.Immutable;
using System.Globalization;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Configuration;

/// <summary>
/// Ports an operator may be logged in through: what sshd's files and its systemd socket name, what a running ssh server listens on, and the port the caller's
/// own session came in by. Capture rules never take them: with Envoy down the host would be lost. Each source may be missing; 22 is always among them.
/// </summary>
internal static class SshPorts
{
    /// <summary>File beside the lock of the rules; under /run it ends with the boot.</summary>
    public const string Note = "capture.ssh";

    private const string Default = "22";
    private const int MaxIncludes = 16; // sshd's own limit of nesting
    private static readonly string[] s_servers = ["sshd", "sshd-session", "dropbear", "tinysshd"];
    private static readonly string[] s_units = ["ssh.socket", "sshd.socket", "dropbear.socket"];
    private static readonly string[] s_unitFolders = ["etc/systemd/system", "run/systemd/system", "run/systemd/generator", "usr/lib/systemd/system", "lib/systemd/system"];

    /// <summary>All sources of this host, 22 first, then by number.</summary>
    public static ImmutableArray<string> Find(HostPaths paths) =>
        Merge([.. Configured(paths), .. Sockets(paths), .. PortOwner.Listening(s_servers), .. Session(Environment.ProcessId), .. Noted(paths)]);

    /// <summary>What the installed rules leave alone, noted when they went on.</summary>
    internal static IEnumerable<int> Noted(HostPaths paths) =>
        Lines(paths.At($"run/vmsidecar/{Note}")).Select(l => TryPort(l.Trim(), out int port) ? port : 0).Where(p => p > 0);

    /// <summary>22 and the others once each, in order.</summary>
    internal static ImmutableArray<string> Merge(IEnumerable<int> ports) =>
        [Default, .. ports.Where(p => p is > 0 and <= ushort.MaxValue).Distinct().Order().Select(p => p.ToString(CultureInfo.InvariantCulture)).Where(p => p != Default)];

    /// <summary><c>Port</c> and <c>ListenAddress</c> of sshd_config(5) with what it includes. A block of <c>Match</c> cannot hold either.</summary>
    internal static IEnumerable<int> Configured(HostPaths paths) => Configured(paths, paths.At("etc/ssh/sshd_config"), 0);

    private static IEnumerable<int> Configured(HostPaths paths, string file, int depth)
    {
        foreach (string[] words in Lines(file).Select(Words))
        {
            if (words is [var key, var value, ..])
            {
                if (key.Equals("Port", StringComparison.OrdinalIgnoreCase) && TryPort(value, out int port)) { yield return port; }
                else if (key.Equals("ListenAddress", StringComparison.OrdinalIgnoreCase) && TryEnd(value, out int end)) { yield return end; }
                else if (key.Equals("Include", StringComparison.OrdinalIgnoreCase) && depth < MaxIncludes)
                {
                    foreach (int included in words[1..].SelectMany(w => Included(paths, w)).SelectMany(f => Configured(paths, f, depth + 1))) { yield return included; }
                }
            }
        }
    }

    /// <summary><c>ListenStream=</c> of the units that start an ssh server on demand, drop-ins included: then nobody called sshd listens.</summary>
    internal static IEnumerable<int> Sockets(HostPaths paths)
    {
        foreach (string unit in from folder in s_unitFolders from unit in s_units select paths.At($"{folder}/{unit}"))
        {
            string[] files = Directory.Exists(unit + ".d") ? [unit, .. Directory.GetFiles(unit + ".d", "*.conf")] : [unit];
            foreach (string line in files.SelectMany(Lines).Select(l => l.Trim()).Where(l => l.StartsWith("ListenStream=", StringComparison.Ordinal)))
            {
                string value = line["ListenStream=".Length..].Trim();
                if (TryPort(value, out int port) || TryEnd(value, out port)) { yield return port; }
            }
        }
    }

    /// <summary>SSH_CONNECTION (client address and port, server address and port) of the nearest ancestor that has it: sudo takes it out of the caller's own.</summary>
    internal static IEnumerable<int> Session(int process, string proc = "/proc")
    {
        for (int at = process, hops = 0; at > 1 && hops < 32; at = Parent(at, proc), hops++)
        {
            string? variable = Read($"{proc}/{at}/environ").Split('\0').FirstOrDefault(v => v.StartsWith("SSH_CONNECTION=", StringComparison.Ordinal));
            if (variable?.Split(' ') is [_, _, _, var text] && TryPort(text, out int port)) { return [port]; }
        }
        return [];
    }

    /// <summary>Field 4 of /proc/PID/stat; the name before it may hold anything, so it is found from its closing bracket.</summary>
    private static int Parent(int process, string proc)
    {
        string stat = Read($"{proc}/{process}/stat");
        string[] fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > 1 && int.TryParse(fields[1], CultureInfo.InvariantCulture, out int parent) ? parent : 0;
    }

    private static string[] Words(string line) =>
        line.Split('#')[0].Split((char[])[' ', '\t', '=', '"', '\r'], StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Relative names are below /etc/ssh; the last part may hold wildcards.</summary>
    private static IEnumerable<string> Included(HostPaths paths, string pattern)
    {
        string path = paths.At(pattern.StartsWith('/') ? pattern : $"etc/ssh/{pattern}"), folder = Path.GetDirectoryName(path)!;
        return Directory.Exists(folder) ? Directory.GetFiles(folder, Path.GetFileName(path)).Order(StringComparer.Ordinal) : [];
    }

    private static bool TryPort(string text, out int port) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port);

    /// <summary>The port at the end of an address; a bare IPv6 address has none.</summary>
    private static bool TryEnd(string text, out int port)
    {
        port = 0;
        int colon = text.LastIndexOf(':');
        bool hasPort = colon >= 0 && (text.IndexOf(':', StringComparison.Ordinal) == colon || text.Contains("]:", StringComparison.Ordinal));
        return hasPort && TryPort(text[(colon + 1)..], out port);
    }

    private static string[] Lines(string file) => Read(file).Split('\n');

    private static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
