using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>Where an ssh server may be reached, from each source on its own.</summary>
public sealed class SshPortsTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("vsc-ssh").FullName;

    private HostPaths Paths => new(_root);

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void The_configuration_of_sshd_names_them_with_what_it_includes()
    {
        Write("etc/ssh/sshd_config", "# Port 1\nInclude /etc/ssh/sshd_config.d/*.conf extra\nport 2222 # comment\nPort=2223\nListenAddress 10.0.0.1:2224\nListenAddress [::]:2225\nListenAddress ::\nListenAddress 10.0.0.1\nPort many\nMatch User x\n  X11Forwarding no\n");
        Write("etc/ssh/sshd_config.d/10-a.conf", "Port 2226\nInclude 20-b.conf\n");
        Write("etc/ssh/sshd_config.d/20-b.conf", "Port \"2227\"\n");
        Write("etc/ssh/extra", "Port 2228\nInclude extra\n"); // a circle ends
        Assert.Equal(["22", "2222", "2223", "2224", "2225", "2226", "2227", "2228"], SshPorts.Merge(SshPorts.Configured(Paths)));
    }

    [Fact]
    public void The_socket_of_systemd_names_them_drop_ins_included()
    {
        Write("lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\nAccept=no\n");
        Write("etc/systemd/system/ssh.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=2022\nListenStream=[::]:2023\nListenStream=/run/x\n");
        Assert.Equal(["22", "2022", "2023"], SshPorts.Merge(SshPorts.Sockets(Paths)));
    }

    [Fact]
    public void The_session_of_the_caller_names_its_port_through_sudo()
    {
        Write("proc/70/environ", "HOME=/root\0");
        Write("proc/70/stat", "70 (vmsidecar) S 60 70");
        Write("proc/60/environ", "PATH=/bin\0");
        Write("proc/60/stat", "60 (su) do (x) S 50 60");
        Write("proc/50/environ", "SSH_CONNECTION=192.0.2.7 51000 10.0.0.1 2222\0SHELL=/bin/sh\0");
        Assert.Equal([2222], SshPorts.Session(70, Path.Combine(_root, "proc")));
        Assert.Empty(SshPorts.Session(80, Path.Combine(_root, "proc")));
    }

    [Fact]
    public void A_running_server_names_them()
    {
        const string Table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
            + "   0: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n"
            + "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n"
            + "   2: 0100007F:1234 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        Write("proc/net/tcp", Table);
        Write("proc/9/comm", "sshd\n");
        Write("proc/8/comm", "nginx\n");
        foreach ((int process, string[] inodes) in new[] { (9, new[] { "4711", "4713" }), (8, ["4712"]) })
        {
            Directory.CreateDirectory(Path.Combine(_root, $"proc/{process}/fd"));
            foreach (string inode in inodes) { File.CreateSymbolicLink(Path.Combine(_root, $"proc/{process}/fd/{inode}"), $"socket:[{inode}]"); }
        }
        Assert.Equal([2222], PortOwner.Listening(["sshd"], Path.Combine(_root, "proc")));
    }

    [Fact]
    public void What_installed_rules_leave_alone_counts()
    {
        Write($"run/vmsidecar/{SshPorts.Note}", "22\n2222\n8000:8010\n");
        Assert.Equal(["22", "2222"], SshPorts.Merge(SshPorts.Noted(Paths)));
    }

    [Fact]
    public void Without_any_source_it_is_22() => Assert.Equal(["22"], SshPorts.Merge([.. SshPorts.Configured(Paths), .. SshPorts.Sockets(Paths), 0, 70_000]));

    [Fact]
    public void Rules_leave_them_alone_unless_others_are_named()
    {
        CaptureHost host = new() { SshPorts = ["22", "2222"] };
        Assert.Equal(["22", "2222"], Read(host).NeverInboundPorts);
        Assert.Equal(["2200"], Read(host, "2200").NeverInboundPorts);
        Assert.Empty(Read(host, "none").NeverInboundPorts);
    }

    private static CaptureOptions Read(CaptureHost host, string? never = null) => new CaptureOptionsReader(
        host, never is null ? new Dictionary<string, string>() : new() { [CaptureFlag.NeverCapture] = never }, []).Read(System.Collections.Immutable.ImmutableDictionary<string, string>.Empty);

    private void Write(string path, string text)
    {
        string full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }
}
