using VmSidecar.MeshLab.Lab;

namespace VmSidecar.Package.Tests.Machines;

/// <summary>
/// One booted Debian in systemd-nspawn: the read-only base below an overlay in memory, in a network namespace of its own on the mesh's bridge.
/// Gone with everything in it on dispose; what a killed run left is swept by the next <see cref="MeshNetwork"/>.
/// </summary>
internal sealed class Machine : IAsyncDisposable
{
    private static readonly string[] s_environment = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"];
    private readonly MeshNetwork _network;
    private readonly string _folder;
    private Daemon? _nspawn;
    private int _leader;
    private int _boots;

    private Machine(MeshNetwork network, string name, string address)
    {
        _network = network;
        Name = name;
        Address = address;
        _folder = Path.Combine(network.Folder, name);
    }

    public string Name { get; }

    public string Address { get; }

    /// <summary>Name of its network namespace; processes of the host can be run in it.</summary>
    public string Netns => _network.NetnsOf(Name);

    /// <summary>Its file system as the host sees it; without /run and /tmp, which it mounts itself.</summary>
    public string Root => Path.Combine(_folder, "root");

    /// <summary>Mounts and boots.</summary>
    public static async Task<Machine> BootAsync(MeshNetwork network, string name, string address, string baseRoot, CancellationToken stop)
    {
        var machine = new Machine(network, name, address);
        try
        {
            await machine.MountAsync(baseRoot, stop);
            await machine.BootAsync(stop);
            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a script as root inside, through sh -e; never fails by itself.</summary>
    public Task<ShellResult> TryAsync(string script, CancellationToken stop) =>
        Shell.RunAsync(["nsenter", "-t", $"{_leader}", "-a", .. s_environment, "/bin/sh", "-ec", script], stop);

    /// <summary>Runs a script that must succeed; returns its output.</summary>
    public async Task<string> RunAsync(string script, CancellationToken stop)
    {
        ShellResult result = await TryAsync(script, stop);
        return result.Exit == 0 ? result.Output : throw new LabException($"'{script}' on {Name} ended with {result.Exit}:\n{result.All}\n{await JournalAsync()}");
    }

    /// <summary>Repeats a script until its output is as awaited.</summary>
    public Task<ShellResult> UntilAsync(string what, string script, Func<ShellResult, bool> holds, CancellationToken stop) =>
        Waiting.ForAsync(what, TestKit.Test.Deadline, () => TryAsync(script, stop), holds, stop);

    /// <summary>Shuts down in order and boots again; like a real machine it then has no rules in its kernel and nothing in /run.</summary>
    public async Task RebootAsync(CancellationToken stop)
    {
        await TryAsync("systemctl poweroff --no-block", stop);
        await Waiting.ForAsync($"{Name} to power off", TestKit.Test.Deadline, () => Task.FromResult(_nspawn!.HasExited), done => done, stop);
        await _nspawn!.DisposeAsync();
        await BootAsync(stop);
    }

    /// <summary>Leaves so many bytes free on its disk.</summary>
    public async Task LimitDiskAsync(long free, CancellationToken stop)
    {
        var disk = new DriveInfo(_folder);
        await Shell.MustAsync(stop, "mount", "-o", $"remount,size={disk.TotalSize - disk.AvailableFreeSpace + free}", _folder);
    }

    /// <summary>Gives the disk its space back.</summary>
    public async Task FreeDiskAsync(CancellationToken stop) => await Shell.MustAsync(stop, "mount", "-o", "remount,size=600m", _folder);

    public async ValueTask DisposeAsync()
    {
        if (_nspawn is { HasExited: false } && _leader > 0) { await Shell.RunAsync(["kill", "-KILL", $"{_leader}"], CancellationToken.None); }
        if (_nspawn is not null)
        {
            await _nspawn.TerminateAsync(TimeSpan.FromSeconds(10), CancellationToken.None);
            await _nspawn.DisposeAsync();
        }
        await Shell.RunAsync(["umount", "-l", Root], CancellationToken.None);
        await Shell.RunAsync(["umount", "-l", _folder], CancellationToken.None);
        await _network.LeaveAsync(Name);
    }

    private async Task MountAsync(string baseRoot, CancellationToken stop)
    {
        Directory.CreateDirectory(_folder);
        await Shell.MustAsync(stop, "mount", "-t", "tmpfs", "-o", "size=600m,mode=0755", "vmsidecar-package-test", _folder);
        foreach (string part in (string[])["root", "upper", "work"]) { Directory.CreateDirectory(Path.Combine(_folder, part)); }
        await Shell.MustAsync(stop, "mount", "-t", "overlay", "overlay", "-o", $"lowerdir={baseRoot},upperdir={_folder}/upper,workdir={_folder}/work", Root);
        await File.WriteAllTextAsync(Path.Combine(Root, "etc/hostname"), Name + "\n", stop);
        await File.WriteAllTextAsync(Path.Combine(Root, "etc/hosts"), $"127.0.0.1 localhost {Name}\n::1 localhost\n", stop);
        File.CreateSymbolicLink(Path.Combine(Root, "etc/systemd/system/systemd-resolved.service"), "/dev/null"); // masked: only the test of it wants it
        File.Delete(Path.Combine(Root, "etc/resolv.conf"));
        await File.WriteAllTextAsync(Path.Combine(Root, "etc/resolv.conf"), $"nameserver {MeshNetwork.MeshAddress}\noptions timeout:2 attempts:2\n", stop);
    }

    private async Task BootAsync(CancellationToken stop)
    {
        await _network.JoinAsync(Name, Address, stop); // a fresh one at each boot: no rules, no connections
        _nspawn = Daemon.Start($"machine {Name}", Path.Combine(_network.Folder, $"{Name}-console-{_boots++}.log"),
        [
            "setsid", "systemd-nspawn", "--quiet", "--boot", $"--directory={Root}", $"--machine={_network.Prefix}-{Name}", $"--network-namespace-path=/run/netns/{Netns}",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--resolv-conf=off", "--timezone=off", "--register=no", "--keep-unit", "--console=pipe",
        ]);
        _leader = await Waiting.ForAsync($"{Name} to boot", TestKit.Test.Deadline, LeaderAsync, pid => pid > 0, stop);
        await UntilAsync("the end of the boot", "systemctl is-system-running || true", r => r.Output.Trim() is "running" or "degraded", stop);

        async Task<int> LeaderAsync()
        {
            if (_nspawn.HasExited) { throw new LabException($"systemd-nspawn ended: {_nspawn.Tail()}"); }
            string children = await File.ReadAllTextAsync($"/proc/{_nspawn.Pid}/task/{_nspawn.Pid}/children", stop);
            int pid = int.TryParse(children.Split(' ')[0], out int first) ? first : 0;
            if (pid == 0) { return 0; }
            ShellResult up = await Shell.RunAsync(["nsenter", "-t", $"{pid}", "-a", "test", "-S", "/run/systemd/private"], stop);
            return up.Exit == 0 ? pid : 0;
        }
    }

    private async Task<string> JournalAsync() => (await TryAsync("journalctl -u istio -u istio-capture-watch --no-pager -n 40; tail -n 40 /var/log/istio/istio.log 2>/dev/null || true", CancellationToken.None)).Output;
}
