using System.Globalization;

using VmSidecar.MeshLab.Lab;

namespace VmSidecar.Package.Tests.Machines;

/// <summary>
/// The wires between the machines of one run: a namespace with a bridge (10.98.0.1), where istiod's double and the resolver live, and one namespace per
/// machine. Names carry the process id, so that several runs do not meet and a later one can sweep what a killed one left.
/// </summary>
internal sealed class MeshNetwork : IAsyncDisposable
{
    public const string MeshAddress = "10.98.0.1";
    public const string PodAddress = "10.98.0.3";
    private const string Family = "vmpkg";
    private const string Folders = "/run/vmsidecar-package-test";
    private readonly HashSet<string> _joined = [];

    private MeshNetwork(string folder) => Folder = folder;

    /// <summary>Everything of this run is below it.</summary>
    public string Folder { get; }

    /// <summary>Begins every name this run gives.</summary>
    public string Prefix { get; } = string.Create(CultureInfo.InvariantCulture, $"{Family}{Environment.ProcessId}");

    /// <summary>The namespace of istiod and the resolver.</summary>
    public string MeshNetns => NetnsOf("mesh");

    public static async Task<MeshNetwork> MakeAsync(CancellationToken stop)
    {
        await SweepAsync();
        var network = new MeshNetwork(Directory.CreateDirectory($"{Folders}/{Environment.ProcessId}").FullName);
        await Shell.MustAsync(stop, "ip", "netns", "add", network.MeshNetns);
        await Shell.MustAsync(stop, "ip", "-n", network.MeshNetns, "link", "set", "lo", "up");
        await Shell.MustAsync(stop, "ip", "-n", network.MeshNetns, "link", "add", "br0", "type", "bridge");
        await Shell.MustAsync(stop, "ip", "-n", network.MeshNetns, "addr", "add", $"{MeshAddress}/24", "dev", "br0");
        await Shell.MustAsync(stop, "ip", "-n", network.MeshNetns, "link", "set", "br0", "up");
        return network;
    }

    public string NetnsOf(string machine) => $"{Prefix}-{machine}";

    /// <summary>Makes the machine's namespace anew and plugs it in.</summary>
    public async Task JoinAsync(string machine, string address, CancellationToken stop)
    {
        await LeaveAsync(machine);
        string netns = NetnsOf(machine);
        await Shell.MustAsync(stop, "ip", "netns", "add", netns);
        _joined.Add(machine);
        await Shell.MustAsync(stop, "ip", "-n", netns, "link", "set", "lo", "up");
        await Shell.MustAsync(stop, "ip", "-n", MeshNetns, "link", "add", $"v{machine}", "type", "veth", "peer", "name", "eth0", "netns", netns);
        await Shell.MustAsync(stop, "ip", "-n", MeshNetns, "link", "set", $"v{machine}", "master", "br0", "up");
        await Shell.MustAsync(stop, "ip", "-n", netns, "addr", "add", $"{address}/24", "dev", "eth0");
        await Shell.MustAsync(stop, "ip", "-n", netns, "link", "set", "eth0", "up");
        await Shell.MustAsync(stop, "ip", "-n", netns, "route", "add", "default", "via", MeshAddress);
    }

    /// <summary>Unplugs a machine; nothing happens when it is not plugged in.</summary>
    public async Task LeaveAsync(string machine)
    {
        if (!_joined.Remove(machine)) { return; }
        await RemoveNetnsAsync(NetnsOf(machine));
        await Shell.RunAsync(["ip", "-n", MeshNetns, "link", "del", $"v{machine}"], CancellationToken.None); // the other end may live on in a dying connection
    }

    public async ValueTask DisposeAsync()
    {
        foreach (string machine in _joined.ToArray()) { await LeaveAsync(machine); }
        await RemoveNetnsAsync(MeshNetns);
        Directory.Delete(Folder, recursive: true);
    }

    /// <summary>Takes away namespaces and mounts of runs whose process is gone; their machines died with the namespace of their network's last process.</summary>
    private static async Task SweepAsync()
    {
        string listed = (await Shell.RunAsync(["ip", "netns", "list"], CancellationToken.None)).Output;
        foreach (string name in listed.Split('\n').Select(l => l.Split(' ')[0]).Where(n => n.StartsWith(Family, StringComparison.Ordinal)))
        {
            if (!Directory.Exists($"/proc/{name[Family.Length..].Split('-')[0]}")) { await RemoveNetnsAsync(name); }
        }
        if (!Directory.Exists(Folders)) { return; }
        foreach (string folder in Directory.EnumerateDirectories(Folders).Where(f => !Directory.Exists($"/proc/{Path.GetFileName(f)}")).ToArray())
        {
            foreach (string mount in (await File.ReadAllLinesAsync("/proc/mounts")).Select(l => l.Split(' ')[1]).Where(m => m.StartsWith(folder + "/", StringComparison.Ordinal)).OrderByDescending(m => m.Length))
            {
                await Shell.RunAsync(["umount", "-l", mount], CancellationToken.None);
            }
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Kills what still runs inside (a left-over machine among it), then removes it.</summary>
    private static async Task RemoveNetnsAsync(string netns)
    {
        string pids = (await Shell.RunAsync(["ip", "netns", "pids", netns], CancellationToken.None)).Output;
        foreach (string pid in pids.Split('\n', StringSplitOptions.RemoveEmptyEntries)) { await Shell.RunAsync(["kill", "-KILL", pid], CancellationToken.None); }
        await Shell.RunAsync(["ip", "netns", "del", netns], CancellationToken.None);
        if (Directory.Exists($"/etc/netns/{netns}")) { Directory.Delete($"/etc/netns/{netns}", recursive: true); }
    }
}
