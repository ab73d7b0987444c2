using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>The unit from day to day: stop, restart, crashes of each process, a hang, a mistake in the settings, no Envoy.</summary>
public sealed class LifeTests(PackageMesh mesh)
{
    private const string Main = "systemctl show -p MainPID --value istio";
    private const string Rules = "iptables-save | grep -c ISTIO || true; nft list tables | grep -ci istio || true";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_stop_leaves_nothing_behind_and_a_restart_is_a_member_again()
    {
        await using Machine vm = await StartedAsync();
        await vm.RunAsync("systemctl stop istio", Stop);
        Assert.Equal("0\n0\n", await vm.RunAsync(Rules, Stop));
        Assert.Equal("", (await vm.TryAsync("pgrep -u istio-proxy -a", Stop)).Output);
        Assert.StartsWith("192.0.2.10", await vm.RunAsync("getent hosts outside.example.org", Stop), StringComparison.Ordinal);
        Assert.Equal("Result=success\nNRestarts=0\n", await vm.RunAsync("systemctl show -p Result -p NRestarts istio", Stop));
        string log = await vm.RunAsync("cat /var/log/istio/istio.log", Stop);
        Assert.Contains("Agent draining Proxy", log, StringComparison.Ordinal);
        Assert.EndsWith("Agent has successfully terminated\n", log, StringComparison.Ordinal);

        await vm.RunAsync("systemctl start istio; systemctl restart istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        Assert.Equal("2\n", await vm.RunAsync("pgrep -c -u istio-proxy", Stop));
    }

    [Theory]
    [InlineData("restart", true)]
    [InlineData("stop", false)]
    public async Task While_it_drains_the_rules_stay_for_a_restart_and_are_off_for_a_stop(string verb, bool stay)
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("echo \"PROXY_CONFIG='terminationDrainDuration: 20s'\" >/var/lib/istio/envoy/sidecar.env; systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        string agent = await vm.RunAsync(Main, Stop);
        await vm.RunAsync($"systemctl --no-block {verb} istio", Stop);
        await vm.UntilAsync("the drain", "cat /var/log/istio/istio.log", r => r.Output.Contains("Agent draining Proxy", StringComparison.Ordinal), Stop);
        string rules = await vm.RunAsync("iptables-save | grep -c ISTIO || true", Stop), answer = (await vm.TryAsync("curl -sS --max-time 5 http://nginx.example.com/", Stop)).Output;
        Assert.Equal(agent, await vm.RunAsync(Main, Stop)); // it drains still
        Assert.Equal((stay, stay), (rules != "0\n", answer.StartsWith("Welcome", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task An_agent_killed_at_once_takes_envoy_and_rules_along_and_comes_back()
    {
        await using Machine vm = await StartedAsync();
        string before = await vm.RunAsync(Main + "; pgrep -u istio-proxy -f /envoy", Stop);
        await vm.RunAsync($"kill -KILL $({Main})", Stop);
        await vm.UntilAsync("a new agent", "systemctl show -p NRestarts --value istio; systemctl is-active istio || true", r => r.Output == "1\nactive\n", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        string after = await vm.RunAsync(Main + "; pgrep -u istio-proxy -f /envoy", Stop);
        Assert.Empty(before.Split('\n', StringSplitOptions.RemoveEmptyEntries).Intersect(after.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        Assert.Equal("2\n", await vm.RunAsync("pgrep -c -u istio-proxy", Stop));
        Assert.NotEqual("0\n0\n", await vm.RunAsync(Rules, Stop));
    }

    [Fact]
    public async Task An_envoy_that_crashes_is_started_again_beneath_the_same_agent()
    {
        await using Machine vm = await StartedAsync();
        string agent = await vm.RunAsync(Main, Stop), envoy = await vm.RunAsync("pgrep -u istio-proxy -f /envoy", Stop);
        await vm.RunAsync("pkill -KILL -u istio-proxy -f /envoy", Stop);
        await vm.UntilAsync("another Envoy", "pgrep -u istio-proxy -f /envoy; curl -so /dev/null -w '%{http_code}' localhost:15021/healthz/ready", r => r.Output.EndsWith("200", StringComparison.Ordinal) && !r.Output.StartsWith(envoy, StringComparison.Ordinal), Stop);
        Assert.Equal(agent, await vm.RunAsync(Main, Stop));
        Assert.Equal("0\n", await vm.RunAsync("systemctl show -p NRestarts --value istio", Stop));
        Assert.Contains("signal: killed", await vm.RunAsync("cat /var/log/istio/istio.log", Stop), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_agent_that_hangs_is_killed_by_the_watchdog_and_started_again()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("mkdir -p /etc/systemd/system/istio.service.d; printf '[Service]\\nWatchdogSec=3\\n' >/etc/systemd/system/istio.service.d/w.conf; systemctl daemon-reload; systemctl start istio", Stop);
        string agent = await vm.RunAsync(Main, Stop);
        await vm.RunAsync($"kill -STOP $({Main})", Stop);
        await vm.UntilAsync("the watchdog", "systemctl show -p NRestarts --value istio; systemctl is-active istio || true", r => r.Output == "1\nactive\n", Stop);
        Assert.NotEqual(agent, await vm.RunAsync(Main, Stop));
        Assert.Contains("Watchdog timeout", await vm.RunAsync("journalctl -u istio --no-pager", Stop), StringComparison.Ordinal);
        await mesh.RegisteredAsync(vm, Stop);
    }

    [Fact]
    public async Task Without_envoy_the_unit_fails_once_and_says_where_to_get_one()
    {
        await using Machine vm = await mesh.BootAsync(Stop, withEnvoy: false);
        await Onboarding.InstallAsync(vm, Stop);
        await FailsOnceAsync(vm, "no Envoy was found (looked at /usr/local/bin/envoy, /usr/bin/envoy", "Install Istio's Envoy as /usr/local/bin/envoy, or the envoy package of your distribution");
        File.Copy(mesh.Inputs.Envoy, Path.Combine(vm.Root, "usr/bin/envoy"));
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
    }

    [Fact]
    public async Task A_mistake_in_the_settings_fails_once_with_file_line_and_fix()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("printf '# mine\\nSECRET_TTL=soon\\n' >/var/lib/istio/envoy/sidecar.env", Stop);
        await FailsOnceAsync(vm, "/var/lib/istio/envoy/sidecar.env:2: SECRET_TTL: 'soon' is not a duration");
        await vm.RunAsync("rm -r /etc/certs; rm /var/lib/istio/envoy/sidecar.env", Stop);
        await FailsOnceAsync(vm, "/etc/certs/root-cert.pem: root certificate: does not exist. Copy root-cert.pem"); // and not systemd's NAMESPACE
    }

    [Fact]
    public async Task Logrotate_gets_a_new_file_and_the_old_one_is_complete()
    {
        await using Machine vm = await StartedAsync();
        await vm.RunAsync("logrotate -f /etc/logrotate.d/istio", Stop);
        await vm.UntilAsync("the new file in use", "grep -c 'log file reopened' /var/log/istio/istio.log", r => r.Output == "1\n", Stop);
        Assert.Equal("istio-proxy 644\n", await vm.RunAsync("stat -c '%U %a' /var/log/istio/istio.log", Stop));
        Assert.Contains("Envoy proxy is ready", await vm.RunAsync("cat /var/log/istio/istio.log.1", Stop), StringComparison.Ordinal);
        await vm.RunAsync("pkill -KILL -u istio-proxy -f /envoy", Stop);
        await vm.UntilAsync("later lines in the new file", "grep -c 'signal: killed' /var/log/istio/istio.log", r => r.Output == "1\n", Stop);
        await vm.RunAsync("logrotate -f /etc/logrotate.d/istio; test -s /var/log/istio/istio.log.2.gz", Stop);
        Assert.Equal("", await vm.RunAsync("ls -l /proc/$(systemctl show -p MainPID --value istio)/fd | grep -E 'istio.log.[12]' || true", Stop)); // nothing holds the old ones open
    }

    private async Task<Machine> StartedAsync()
    {
        Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await vm.UntilAsync("ready", "grep -c 'Envoy proxy is ready' /var/log/istio/istio.log", r => r.Exit == 0, Stop);
        return vm;
    }

    private static async Task FailsOnceAsync(Machine vm, params string[] words)
    {
        ShellResult start = await vm.TryAsync("systemctl start istio", Stop);
        Assert.NotEqual(0, start.Exit);
        await vm.UntilAsync("the unit to give up", "systemctl is-failed istio", r => r.Output == "failed\n", Stop);
        Assert.Equal("NRestarts=0\nExecMainStatus=78\n", await vm.RunAsync("systemctl show -p NRestarts -p ExecMainStatus istio", Stop));
        string status = (await vm.TryAsync("systemctl status istio --no-pager --full", Stop)).Output;
        Assert.All(words, word => Assert.Contains(word, status, StringComparison.Ordinal));
        Assert.Equal("0\n0\n", await vm.RunAsync(Rules, Stop));
    }
}
