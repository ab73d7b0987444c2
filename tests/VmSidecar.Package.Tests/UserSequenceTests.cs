using System.Globalization;

using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>What a person types on a new VM, in the order of Istio's own guide, ends in a member of the mesh; and what that member looks like from outside and inside.</summary>
public sealed class UserSequenceTests(PackageMesh mesh)
{
    private const string Curl = "setpriv --reuid=65534 --regid=65534 --clear-groups curl -sS --max-time 10 ";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_classic_sequence_gives_a_running_member_of_the_mesh()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        Assert.Equal("disabled\ninactive\n", (await vm.TryAsync("systemctl is-enabled istio || true; systemctl is-active istio || true", Stop)).Output);
        await vm.RunAsync("systemctl start istio", Stop);

        await mesh.RegisteredAsync(vm, Stop);
        await ProcessesAsync(vm);
        await LogAsync(vm);
        await TrafficAsync(vm);
        await StatusAsync(vm);
        Assert.Equal("1min\n", await vm.RunAsync("systemctl show -p WatchdogUSec --value istio", Stop));
        string score = await vm.RunAsync("systemd-analyze security istio.service --no-pager | grep -o 'Overall exposure level.*'", Stop);
        Assert.True(double.Parse(score.Split(": ")[1].Split(' ')[0], CultureInfo.InvariantCulture) < 2.5, score);
    }

    [Fact]
    public async Task Enroll_does_the_copying_and_a_folder_etc_istio_of_the_administrator_is_taken_as_it_is()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await vm.RunAsync("mkdir -p /etc/istio/config; echo mine >/etc/istio/note; dpkg -i /root/vm-sidecar.deb", Stop);
        Assert.Equal("directory /etc/istio/proxy istio-proxy 755\n", await vm.RunAsync("stat -c '%F %n %U %a' /etc/istio/proxy", Stop));

        ShellResult lacking = await vm.TryAsync("mkdir /root/some; cp /root/files/cluster.env /root/files/hosts /root/some; find /etc /var/lib/istio -newer /root/some | sort >/root/before; vmsidecar enroll /root/some", Stop);
        Assert.Equal(78, lacking.Exit);
        Assert.Contains("missing in /root/some: root-cert.pem\nmissing in /root/some: istio-token\nmissing in /root/some: mesh.yaml\nnothing was changed.", lacking.Output, StringComparison.Ordinal);
        Assert.Equal("", await vm.RunAsync("find /var/lib/istio/envoy /etc/istio/config -type f -size +0", Stop));

        string first = await vm.RunAsync("tar -C /root -czf /root/files.tgz files; vmsidecar enroll /root/files.tgz", Stop);
        Assert.Contains("istio-token -> /var/run/secrets/tokens/istio-token", first, StringComparison.Ordinal);
        Assert.Contains("has istiod.istio-system.svc 10.98.0.1 already", await vm.RunAsync("vmsidecar enroll /root/files", Stop), StringComparison.Ordinal);
        Assert.Equal("1\n", await vm.RunAsync("grep -c istiod.istio-system.svc /etc/hosts", Stop));
        Assert.Equal("600 istio-proxy\n", await vm.RunAsync("stat -c '%a %U' /var/run/secrets/tokens/istio-token", Stop));
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await vm.RunAsync("test -S /etc/istio/proxy/XDS; dpkg -P vm-sidecar; test \"$(cat /etc/istio/note)\" = mine; test ! -e /etc/istio/proxy", Stop);
    }

    [Fact]
    public async Task After_a_reboot_without_token_the_enabled_unit_is_a_member_again_by_its_certificate()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("systemctl enable --now istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await vm.RebootAsync(Stop);
        await mesh.StartWebAsync(vm.Netns, "Welcome again!", Stop);
        await vm.RunAsync("test ! -e /run/secrets/tokens/istio-token; test -d /run/secrets/workload-spiffe-uds", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await vm.UntilAsync("names after the reboot", "getent hosts nginx.example.com", r => r.Output.Contains("240.24", StringComparison.Ordinal), Stop);
        await vm.UntilAsync("traffic after the reboot", Curl + "http://nginx.example.com/", r => r.Output.StartsWith("Welcome", StringComparison.Ordinal), Stop);
        Assert.Equal("active\n", await vm.RunAsync("systemctl is-active istio", Stop));
    }

    [Fact]
    public async Task The_recipe_of_an_apt_repository_installs_and_upgrades()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        string repository = Directory.CreateDirectory(Path.Combine(vm.Root, "srv/apt")).FullName;
        File.Copy(Path.Combine(vm.Root, "root", $"vm-sidecar_{PackageMesh.Older}.deb"), Path.Combine(repository, "older.deb"));
        string recipe = Path.Combine(mesh.Network.Folder, "apt-repository.sh");
        await vm.RunAsync("dpkg-deb --fsys-tarfile /root/vm-sidecar.deb | tar -xO ./usr/share/doc/vm-sidecar/examples/apt-repository.sh >/srv/recipe.sh", Stop);
        File.Copy(Path.Combine(vm.Root, "srv/recipe.sh"), recipe, overwrite: true);
        await Shell.MustAsync(Stop, "sh", recipe, repository);
        const string Apt = "apt-get -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::sourcelist=/srv/list -o APT::Sandbox::User=root ";
        await vm.RunAsync("echo 'deb [trusted=yes] file:/srv/apt ./' >/srv/list; " + Apt + "update; " + Apt + "install -y --no-install-recommends vm-sidecar", Stop);
        Assert.Equal(PackageMesh.Older, await vm.RunAsync("dpkg-query -W -f '${Version}' vm-sidecar", Stop));
        File.Copy(Path.Combine(vm.Root, "root/vm-sidecar.deb"), Path.Combine(repository, "newer.deb"));
        await Shell.MustAsync(Stop, "sh", recipe, repository);
        await vm.RunAsync(Apt + "update; " + Apt + "upgrade -y", Stop);
        Assert.NotEqual(PackageMesh.Older, await vm.RunAsync("dpkg-query -W -f '${Version}' vm-sidecar", Stop));
    }

    /// <summary>The agent is the unit's main process, Envoy its child; both are istio-proxy, have no capability, cannot gain one, and are in the unit's cgroup.</summary>
    private static async Task ProcessesAsync(Machine vm)
    {
        string list = await vm.RunAsync("main=$(systemctl show -p MainPID --value istio); ps -o user:12=,args= -p $main --ppid $main", Stop);
        string[] lines = list.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Collection(lines,
            agent => Assert.Equal("istio-proxy  /usr/bin/vmsidecar run", agent),
            envoy => Assert.StartsWith("istio-proxy  /usr/local/bin/envoy -c /etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate ", envoy, StringComparison.Ordinal));
        Assert.Equal("NoNewPrivs:\t1\n", string.Join('\n', (await vm.RunAsync("for p in $(pgrep -u istio-proxy); do grep -h NoNewPrivs /proc/$p/status; done", Stop)).Split('\n').Distinct()));
        Assert.Equal("CapEff:\t0000000000000000\n", string.Join('\n', (await vm.RunAsync("for p in $(pgrep -u istio-proxy); do grep -h CapEff /proc/$p/status; done", Stop)).Split('\n').Distinct()));
        Assert.Equal("2\n", await vm.RunAsync("for p in $(pgrep -u istio-proxy); do grep -l istio.service /proc/$p/cgroup; done | wc -l", Stop));
        Assert.Equal("600 istio-proxy\n", await vm.RunAsync("stat -c '%a %U' /etc/certs/key.pem", Stop));
    }

    /// <summary>The lines operators look for, in pilot-agent's order (reference 06, S1), in the file and in the journal.</summary>
    private static async Task LogAsync(Machine vm)
    {
        await vm.UntilAsync("the last line of a good start", "grep -c 'Envoy proxy is ready' /var/log/istio/istio.log", r => r.Exit == 0, Stop);
        string log = await vm.RunAsync("cat /var/log/istio/istio.log", Stop);
        int at = -1;
        foreach (string line in (string[])["Version ", "Proxy role\tips=[10.98.0.", "Effective config: ", "Starting local udp DNS server", "Opening status port 15020", "Starting proxy agent"])
        {
            int next = log.IndexOf(line, StringComparison.Ordinal);
            Assert.True(next > at, $"'{line}' is missing, or before what it follows, in:\n{log}");
            at = next;
        }
        foreach (string line in (string[])["generated new workload certificate", "SDS: PUSH\tresource=default", "SDS: PUSH\tresource=ROOTCA", "upstream XDS server: istiod.istio-system.svc:15012", "Envoy command: ["])
        {
            Assert.Contains(line, log, StringComparison.Ordinal);
        }
        Assert.Equal("istio-proxy 644\n", await vm.RunAsync("stat -c '%U %a' /var/log/istio/istio.log", Stop));
        Assert.Contains("generated new workload certificate", await vm.RunAsync("journalctl -u istio -p info --no-pager", Stop), StringComparison.Ordinal);
        Assert.DoesNotContain("generated new workload certificate", await vm.RunAsync("journalctl -u istio -p warning --no-pager", Stop), StringComparison.Ordinal); // the priority came through
    }

    private static async Task TrafficAsync(Machine vm)
    {
        Assert.Contains("REDIRECT --to-ports 15001", await vm.RunAsync("iptables-save -t nat", Stop), StringComparison.Ordinal);
        Assert.StartsWith("240.24", await vm.RunAsync("getent hosts nginx.example.com", Stop), StringComparison.Ordinal);
        Assert.StartsWith("192.0.2.10", await vm.RunAsync("getent hosts outside.example.org", Stop), StringComparison.Ordinal);
        await vm.UntilAsync("the pod to answer", Curl + "http://nginx.example.com/", r => r.Output.StartsWith("Welcome to the pod!", StringComparison.Ordinal), Stop);
        await vm.UntilAsync("the VM to answer", Curl + "http://nginx.example.com/", r => r.Output.StartsWith("Welcome to vm", StringComparison.Ordinal), Stop);
    }

    private static async Task StatusAsync(Machine vm)
    {
        Assert.Matches("Status: \"ready; istiod connected; certificate until .* UTC; envoy pid [0-9]+\"", await vm.RunAsync("systemctl status istio --no-pager", Stop));
        Assert.StartsWith("ready\n", await vm.RunAsync("vmsidecar status", Stop), StringComparison.Ordinal);
        ShellResult doctor = await vm.TryAsync("vmsidecar doctor", Stop);
        Assert.True(doctor.Exit == 0, doctor.All);
        Assert.Contains("istio_agent_trouble{code=\"XDS001\"} 0", await vm.RunAsync("curl -s localhost:15020/stats/prometheus", Stop), StringComparison.Ordinal);
        await vm.RunAsync("vmsidecar bugreport --yes -o /root/report.tar.gz", Stop);
        string report = await vm.RunAsync("tar -C /root -xzf /root/report.tar.gz; cat /root/vmsidecar-bugreport-*/*; ls /root/vmsidecar-bugreport-*", Stop);
        Assert.Contains("istio.log", report, StringComparison.Ordinal);
        Assert.Contains("all is well", report, StringComparison.Ordinal);
        Assert.DoesNotContain("PRIVATE KEY-----", report, StringComparison.Ordinal);
        Assert.DoesNotContain((await vm.RunAsync("cat /run/secrets/tokens/istio-token", Stop)).Split('.')[2].Trim(), report, StringComparison.Ordinal);
    }
}
