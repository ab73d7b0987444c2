using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>Remove keeps what the administrator made, reinstall goes on with it, purge leaves nothing and names each credential it takes away.</summary>
public sealed class RemovalTests(PackageMesh mesh)
{
    /// <summary>Every path that a package or an agent could leave; what dpkg, systemd and the machine itself write is theirs.</summary>
    private const string Everything = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /root -o -path /tmp -o -path /var/log/journal -o -path /var/lib/dpkg -o -path /var/cache "
        + "-o -path /var/lib/systemd -o -path /run/systemd -o -path /var/tmp -o -path /run/log -o -path /run/udev \\) -prune -o -print | sort; find /run/secrets 2>/dev/null | sort || true";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Remove_keeps_settings_and_reinstall_goes_on_and_purge_leaves_nothing()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        string before = await vm.RunAsync(Everything, Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("systemctl enable --now istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);

        await vm.RunAsync("dpkg -r vm-sidecar", Stop);
        Assert.Equal("", (await vm.TryAsync("pgrep -u istio-proxy -a", Stop)).Output);
        Assert.Equal("0\n", await vm.RunAsync("iptables-save | grep -c ISTIO || true", Stop));
        Assert.StartsWith("192.0.2.10", await vm.RunAsync("getent hosts outside.example.org", Stop), StringComparison.Ordinal);
        await vm.RunAsync("test -s /etc/certs/key.pem; test -s /var/lib/istio/envoy/cluster.env; test -s /etc/istio/config/mesh; test -s /run/secrets/tokens/istio-token; test -s /etc/default/istio; getent passwd istio-proxy", Stop);

        await vm.RunAsync("dpkg -i /root/vm-sidecar.deb; systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);

        ShellResult purge = await vm.TryAsync("dpkg -P vm-sidecar", Stop);
        Assert.True(purge.Exit == 0, purge.All);
        Assert.DoesNotContain("warning", purge.All, StringComparison.OrdinalIgnoreCase);
        foreach (string file in (string[])["/etc/certs/key.pem", "/etc/certs/cert-chain.pem", "/etc/certs/root-cert.pem", "/run/secrets/tokens/istio-token"])
        {
            Assert.Contains($"removing this machine's mesh credential {file}", purge.All, StringComparison.Ordinal);
        }
        string[] left = [.. (await vm.RunAsync(Everything, Stop)).Split('\n').Except(before.Split('\n')).Where(p => p is not ("/etc/passwd-" or "/etc/group-" or "/etc/shadow-" or "/etc/gshadow-"))];
        Assert.Empty(left);
        Assert.NotEqual(0, (await vm.TryAsync("getent passwd istio-proxy", Stop)).Exit);
        Assert.Contains("istiod.istio-system.svc", await vm.RunAsync("cat /etc/hosts", Stop), StringComparison.Ordinal); // the administrator's own line
        Assert.DoesNotContain("istio", (await vm.TryAsync("systemctl list-unit-files --no-legend; systemctl --failed --no-legend", Stop)).Output, StringComparison.Ordinal);
    }
}
