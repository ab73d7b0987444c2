namespace VmSidecar.MeshLab.Lab;

/// <summary>Three network namespaces on one bridge: mesh 10.99.0.1 (it holds the bridge), vm 10.99.0.2, pod 10.99.0.3. Removes what a crashed run left before it makes anew.</summary>
internal sealed class Network(FileStream mine) : IAsyncDisposable
{
    private const string Lock = "/run/vmsidecar-lab.lock";

    public const string Mesh = "vmsidecar-mesh";
    public const string Vm = "vmsidecar-vm";
    public const string Pod = "vmsidecar-pod";
    public const string MeshAddress = "10.99.0.1";
    public const string VmAddress = "10.99.0.2";
    public const string PodAddress = "10.99.0.3";

    private static readonly string[] All = [Mesh, Vm, Pod];

    /// <summary>Makes the namespaces, links and the per-namespace /etc files.</summary>
    public static async Task<Network> MakeAsync(CancellationToken stop)
    {
        FileStream mine = Take();
        await RemoveAsync();
        var network = new Network(mine);
        try
        {
            await network.BuildAsync(stop);
            return network;
        }
        catch
        {
            await network.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await RemoveAsync();
        await mine.DisposeAsync();
    }

    /// <summary>The namespaces have fixed names: one lab at a time. The kernel gives the lock back when its holder dies.</summary>
    private static FileStream Take()
    {
        try { return new FileStream(Lock, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None); }
        catch (IOException) { throw new LabException($"another lab is up (it holds {Lock}); stop it first"); }
    }

    private async Task BuildAsync(CancellationToken stop)
    {
        foreach (string name in All)
        {
            await Shell.MustAsync(stop, "ip", "netns", "add", name);
            await Shell.MustAsync(stop, "ip", "-n", name, "link", "set", "lo", "up");
        }
        await Shell.MustAsync(stop, "ip", "-n", Mesh, "link", "add", "br0", "type", "bridge");
        await Shell.MustAsync(stop, "ip", "-n", Mesh, "addr", "add", $"{MeshAddress}/24", "dev", "br0");
        await Shell.MustAsync(stop, "ip", "-n", Mesh, "link", "set", "br0", "up");
        await JoinAsync(Vm, "vm", VmAddress, stop);
        await JoinAsync(Pod, "pod", PodAddress, stop);
        foreach (string name in All) { await WriteEtcAsync(name, stop); }
    }

    private static async Task JoinAsync(string netns, string port, string address, CancellationToken stop)
    {
        await Shell.MustAsync(stop, "ip", "-n", Mesh, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns);
        await Shell.MustAsync(stop, "ip", "-n", Mesh, "link", "set", port, "master", "br0", "up");
        await Shell.MustAsync(stop, "ip", "-n", netns, "addr", "add", $"{address}/24", "dev", "eth0");
        await Shell.MustAsync(stop, "ip", "-n", netns, "link", "set", "eth0", "up");
        await Shell.MustAsync(stop, "ip", "-n", netns, "route", "add", "default", "via", MeshAddress);
    }

    /// <summary><c>ip netns exec</c> binds the files of /etc/netns/NAME over those of /etc.</summary>
    private static async Task WriteEtcAsync(string netns, CancellationToken stop)
    {
        string etc = Directory.CreateDirectory($"/etc/netns/{netns}").FullName;
        await File.WriteAllTextAsync($"{etc}/resolv.conf", $"nameserver {MeshAddress}\nsearch example.test\noptions timeout:2 attempts:2\n", stop);
        await File.WriteAllTextAsync($"{etc}/hosts", "127.0.0.1 localhost\n::1 localhost\n", stop);
        await File.WriteAllTextAsync($"{etc}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", stop);
    }

    /// <summary>Kills what still runs inside, then removes namespaces (links go with them) and files. Safe to call when there is nothing.</summary>
    private static async Task RemoveAsync()
    {
        string listed = (await Shell.RunAsync(["ip", "netns", "list"], CancellationToken.None)).Output;
        foreach (string name in All)
        {
            if (listed.Split('\n').Any(l => l.Split(' ')[0] == name))
            {
                string pids = (await Shell.RunAsync(["ip", "netns", "pids", name], CancellationToken.None)).Output;
                foreach (string pid in pids.Split('\n', StringSplitOptions.RemoveEmptyEntries))
                {
                    await Shell.RunAsync(["kill", "-KILL", pid], CancellationToken.None);
                }
                await Shell.RunAsync(["ip", "netns", "del", name], CancellationToken.None);
            }
            string etc = $"/etc/netns/{name}";
            if (Directory.Exists(etc)) { Directory.Delete(etc, recursive: true); }
        }
    }
}
