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
        await using (Traffic http = await Traffic.StartAsync(vm, Stop), names = await Traffic.NamesAsync(vm, Stop))
        {
            string said = await vm.RunAsync("dpkg --force-confold -i /root/vm-sidecar.deb", Stop);
            Assert.Contains("replaced in place", said, StringComparison.Ordinal);
            await vm.RunAsync($"dpkg --force-confold -i /root/vm-sidecar_{PackageMesh.Newer}.deb", Stop);
            Assert.Equal(PackageMesh.Newer, await vm.RunAsync("dpkg-query -W -f '${Version}' vm-sidecar", Stop));
            Assert.Contains($"version {mesh.NewerBinary}-", await vm.RunAsync("vmsidecar status || true", Stop), StringComparison.Ordinal);
            said = await vm.RunAsync("dpkg --force-confold --force-downgrade -i /root/vm-sidecar.deb", Stop);
            Assert.Contains($"replaced in place: {mesh.NewerBinary}-", said, StringComparison.Ordinal);
            Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop)); // the agent is the same process, and Envoy went on
            await vm.RunAsync("systemctl reload istio", Stop);
            foreach (Traffic traffic in (Traffic[])[http, names])
            {
                (int good, string[] bad) = await traffic.EndAsync(Stop);
                Assert.True(bad.Length == 0 && good > 0, $"{good} answers, and: {string.Join("; ", bad)}");
            }
        }
        Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop));
        Assert.Equal("NRestarts=0\nActiveState=active\nSubState=running\n", await vm.RunAsync("systemctl show -p NRestarts -p ActiveState -p SubState istio", Stop));
        Assert.Equal("# mine\n# mine\n", await vm.RunAsync("tail -n 1 /etc/default/istio; cat /var/lib/istio/envoy/sidecar.env", Stop));
        Assert.Equal("/usr/bin/vmsidecar\n", await vm.RunAsync($"readlink /proc/$({Main})/exe", Stop));
        await mesh.RegisteredAsync(vm, Stop);
        await vm.RunAsync("systemctl stop istio", Stop);
        Assert.Equal("", (await vm.TryAsync("pgrep -u istio-proxy -a", Stop)).Output);
    }

    [Fact]
    public async Task A_version_that_cannot_run_here_leaves_the_running_agent_and_the_next_one_takes_over()
    {
        await using Machine vm = await StartedAsync("vm-sidecar.deb");
        string pids = await vm.RunAsync("pgrep -u istio-proxy", Stop);
        await vm.RunAsync("mkdir /root/p; dpkg-deb -R /root/vm-sidecar.deb /root/p; sed -i 's/^Version:.*/Version: 9.9.8~broken/' /root/p/DEBIAN/control; mv /root/p/usr/bin/vmsidecar /root/p/usr/bin/vmsidecar.real", Stop);
        await vm.RunAsync("printf '#!/bin/sh\\n[ \"$1\" != replacement-check ] || { echo \"error: a symbol is missing\" >&2; exit 127; }\\nexec /usr/bin/vmsidecar.real \"$@\"\\n' >/root/p/usr/bin/vmsidecar; chmod 755 /root/p/usr/bin/vmsidecar; dpkg-deb -Znone -b /root/p /root/broken.deb", Stop);
        ShellResult upgrade = await vm.TryAsync("dpkg -i /root/broken.deb", Stop);
        Assert.True(upgrade.Exit == 0, upgrade.All);
        Assert.Contains("not replaced, the agent goes on: /usr/bin/vmsidecar cannot run here: error: a symbol is missing", upgrade.All, StringComparison.Ordinal);
        Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop));
        await vm.RunAsync($"dpkg -i /root/vm-sidecar_{PackageMesh.Newer}.deb", Stop);
        Assert.Equal(pids, await vm.RunAsync("pgrep -u istio-proxy", Stop));
        Assert.Contains($"version {mesh.NewerBinary}-", await vm.RunAsync("vmsidecar status || true", Stop), StringComparison.Ordinal);
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

    /// <summary>Only on request, with VMSIDECAR_OLD_BINARY: a build of before agents could be replaced in place.</summary>
    [Fact(Explicit = true)]
    public async Task An_agent_that_cannot_be_replaced_in_place_is_restarted_by_the_package()
    {
        string old = Environment.GetEnvironmentVariables()["VMSIDECAR_OLD_BINARY"] as string ?? "";
        Assert.SkipUnless(File.Exists(old), "VMSIDECAR_OLD_BINARY names no file");
        await using Machine vm = await mesh.BootAsync(Stop);
        File.Copy(old, Path.Combine(vm.Root, "root/old"));
        await vm.RunAsync("mkdir /root/p; dpkg-deb -R /root/vm-sidecar.deb /root/p; sed -i 's/^Version:.*/Version: 0.0.0~old/' /root/p/DEBIAN/control; install -m 755 /root/old /root/p/usr/bin/vmsidecar; dpkg-deb -Znone -b /root/p /root/old.deb", Stop);
        await Onboarding.InstallAsync(vm, Stop, "old.deb");
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        string agent = await vm.RunAsync(Main, Stop);
        ShellResult upgrade = await vm.TryAsync("dpkg -i /root/vm-sidecar.deb", Stop);
        Assert.True(upgrade.Exit == 0, upgrade.All);
        Assert.Contains("cannot be replaced in place", upgrade.All, StringComparison.Ordinal);
        Assert.NotEqual(agent, await vm.RunAsync(Main, Stop));
        await mesh.RegisteredAsync(vm, Stop);
        Assert.Equal("/usr/bin/vmsidecar\n", await vm.RunAsync($"readlink /proc/$({Main})/exe", Stop));
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
