using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>Other versions over the running one: no request is lost by the package, a full disk leaves what was there, and back again works too.</summary>
public sealed class UpgradeTests(PackageMesh mesh)
{
    private const string Main = "systemctl show -p MainPID --value istio";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_upgrade_and_a_downgrade_under_traffic_lose_no_request_and_keep_the_settings()
    {
        await using Machine vm = await StartedAsync($"vm-sidecar_{PackageMesh.Older}.deb");
        await vm.RunAsync("echo '# mine' >>/etc/default/istio; echo '# mine' >/var/lib/istio/envoy/sidecar.env", Stop);
        string pids = await vm.RunAsync("pgrep -u istio-proxy", Stop);
        await using Traffic traffic = await Traffic.StartAsync(vm, Stop);
        await vm.RunAsync("dpkg --force-confold -i /root/vm-sidecar.deb", Stop);
        await vm.RunAsync($"dpkg --force-confold -i /root/vm-sidecar_{PackageMesh.Newer}.deb", Stop);
        Assert.Equal(PackageMesh.Newer, await vm.RunAsync("dpkg-query -W -f '${Version}' vm-sidecar", Stop));
        await vm.RunAsync("dpkg --force-confold --force-downgrade -i /root/vm-sidecar.deb", Stop);
        Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop)); // the running agent went on, with its old binary
        (int good, string[] bad) = await traffic.EndAsync(Stop);
        Assert.True(bad.Length == 0 && good > 0, $"{good} answers, and: {string.Join("; ", bad)}");
        Assert.Equal("# mine\n# mine\n", await vm.RunAsync("tail -n 1 /etc/default/istio; cat /var/lib/istio/envoy/sidecar.env", Stop));
        Assert.Contains("(deleted)", await vm.RunAsync($"readlink /proc/$({Main})/exe", Stop), StringComparison.Ordinal);
        await vm.RunAsync("systemctl restart istio", Stop);
        Assert.Equal("/usr/bin/vmsidecar\n", await vm.RunAsync($"readlink /proc/$({Main})/exe", Stop));
        await mesh.RegisteredAsync(vm, Stop);
    }

    [Fact]
    public async Task A_disk_that_fills_up_during_an_upgrade_leaves_a_running_agent_that_can_be_restarted()
    {
        await using Machine vm = await StartedAsync($"vm-sidecar_{PackageMesh.Older}.deb");
        string pids = await vm.RunAsync("pgrep -u istio-proxy", Stop);
        await vm.LimitDiskAsync(4 * 1024 * 1024, Stop); // less than the binary
        ShellResult upgrade = await vm.TryAsync("dpkg -i /root/vm-sidecar.deb", Stop);
        Assert.NotEqual(0, upgrade.Exit);
        Assert.Contains("No space left on device", upgrade.All, StringComparison.Ordinal);
        Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop));
        Assert.Equal(PackageMesh.Older + " installed", await vm.RunAsync("dpkg-query -W -f '${Version} ${db:Status-Status}' vm-sidecar", Stop));
        await vm.RunAsync("vmsidecar version; systemctl restart istio", Stop); // also with next to no space
        await mesh.RegisteredAsync(vm, Stop);
        await vm.FreeDiskAsync(Stop);
        await vm.RunAsync("dpkg -i /root/vm-sidecar.deb", Stop);
    }

    private async Task<Machine> StartedAsync(string package)
    {
        Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop, package);
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await vm.UntilAsync("the first answer", "curl -sS --max-time 5 http://nginx.example.com/", r => r.Output.StartsWith("Welcome", StringComparison.Ordinal), Stop);
        return vm;
    }
}
