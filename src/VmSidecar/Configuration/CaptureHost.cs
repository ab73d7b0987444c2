using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Net.NetworkInformation;
using System.Text.RegularExpressions;

namespace VmSidecar.Configuration;

/// <summary>What <see cref="CaptureOptionsReader"/> needs to know of the host: users, groups, resolvers, addresses, bridges. A snapshot; tests write their own.</summary>
internal sealed partial record CaptureHost
{
    /// <summary>Text of the passwd file.</summary>
    public string Passwd { get; init; } = "";

    /// <summary>Text of the group file.</summary>
    public string Group { get; init; } = "";

    /// <summary>Text of resolv.conf; null: there is none.</summary>
    public string? ResolvConf { get; init; }

    public string ResolvConfPath { get; init; } = "/etc/resolv.conf";

    /// <summary>Addresses in the kernel's order, loopback left out.</summary>
    public ImmutableArray<IPAddress> Addresses { get; init; } = [];

    /// <summary>Bridges that docker or podman made.</summary>
    public ImmutableArray<string> ContainerBridges { get; init; } = [];

    /// <summary>Ports of ssh servers, 22 among them.</summary>
    public ImmutableArray<string> SshPorts { get; init; } = ["22"];

    /// <summary>Reads this host. Looking for ssh servers means looking at every process: without <paramref name="ssh"/> it is left out, for who puts no rules on.</summary>
    public static CaptureHost Read(HostPaths paths, bool ssh = true) => new()
    {
        SshPorts = ssh ? Configuration.SshPorts.Find(paths) : ["22"],
        Passwd = ReadOrEmpty(paths.At("etc/passwd"), "/etc/passwd") ?? "",
        Group = ReadOrEmpty(paths.At("etc/group"), "/etc/group") ?? "",
        ResolvConf = ReadOrEmpty(paths.ResolvConf),
        ResolvConfPath = paths.ResolvConf,
        Addresses = ReadAddresses(),
        ContainerBridges = ReadBridges("/sys/class/net"),
    };

    /// <summary>uid and primary gid of a user; only the passwd file counts, as for the classic agent.</summary>
    public (uint Uid, uint Gid)? User(string nameOrUid) => Entries(Passwd)
        .Where(f => f.Length > 3 && (f[0] == nameOrUid || f[2] == nameOrUid))
        .Select(f => (Number(f[2]), Number(f[3])))
        .Where(ids => ids is { Item1: not null, Item2: not null })
        .Select(ids => ((uint, uint)?)(ids.Item1!.Value, ids.Item2!.Value))
        .FirstOrDefault();

    /// <summary>gid of a group by name.</summary>
    public uint? GroupId(string name) => Entries(Group).Where(f => f.Length > 2 && f[0] == name).Select(f => Number(f[2])).FirstOrDefault();

    /// <summary>nameserver lines in order, zone ids stripped (a rule cannot hold one).</summary>
    public IEnumerable<IPAddress> NameServers()
    {
        foreach (string line in (ResolvConf ?? "").Split('\n'))
        {
            string[] words = line.Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words is ["nameserver", var text, ..] && IPAddress.TryParse(text.Split('%')[0], out IPAddress? server)) { yield return server; }
        }
    }

    private static IEnumerable<string[]> Entries(string file) => file.Split('\n').Select(l => l.Split(':'));

    private static uint? Number(string text) => uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint number) ? number : null;

    private static string? ReadOrEmpty(params ReadOnlySpan<string> candidates)
    {
        foreach (string path in candidates)
        {
            try
            {
                return File.ReadAllText(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // the next one
            }
        }
        return null;
    }

    private static ImmutableArray<IPAddress> ReadAddresses()
    {
        try
        {
            return
            [
                .. NetworkInterface.GetAllNetworkInterfaces()
                    .Where(n => n.NetworkInterfaceType != NetworkInterfaceType.Loopback)
                    .SelectMany(n => n.GetIPProperties().UnicastAddresses)
                    .Select(a => a.Address)
                    .Where(a => !IPAddress.IsLoopback(a))
                    .OrderBy(a => a.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork ? 0 : 1), // the kernel lists IPv4 first
            ];
        }
        catch (NetworkInformationException)
        {
            return [];
        }
    }

    private static ImmutableArray<string> ReadBridges(string folder) => Directory.Exists(folder)
        ? [.. Directory.EnumerateDirectories(folder).Select(d => Path.GetFileName(d)).Where(n => EngineBridge().IsMatch(n)).Order(StringComparer.Ordinal)]
        : [];

    [GeneratedRegex(@"^(docker\d+|docker_gwbridge|br-[0-9a-f]{12}|podman\d+|cni-podman\d+)$")]
    private static partial Regex EngineBridge();
}
