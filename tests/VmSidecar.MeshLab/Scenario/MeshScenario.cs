using System.Text.Json.Nodes;

using VmSidecar.MeshLab.Lab;
using VmSidecar.TestKit.Istiod.Mesh;

namespace VmSidecar.MeshLab.Scenario;

/// <summary>The whole job in eight steps, each shown as command and output and each asserted.</summary>
internal sealed class MeshScenario(LabMesh mesh, LabOptions options, Transcript transcript)
{
    private const string OnDocker = "Welcome to nginx on docker!", OnVm = "Welcome to nginx on vm!";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);
    private string _rulesBefore = "";
    private string _virtualIp = "";

    /// <summary>Steps 1 to 7: up, and everything works.</summary>
    public async Task UpAsync(CancellationToken stop)
    {
        await JoinAsync(stop);
        await RegistrationAsync(stop);
        await NamesAsync(stop);
        await TrafficAsync(stop);
        await RoutesAsync(stop);
        await InboundAsync(stop);
        await HealthAsync(stop);
    }

    private async Task JoinAsync(CancellationToken stop)
    {
        transcript.Step(1, "The agent joins the mesh");
        _rulesBefore = await mesh.Vm.RulesAsync(stop);
        foreach (LabHost host in (LabHost[])[mesh.Pod, mesh.Vm])
        {
            transcript.Command(host.Name, $"vmsidecar run --root {host.Root} &");
            host.StartAgent(options.VmSidecar);
        }
        foreach (string line in (string[])["generated new workload certificate", "SDS: PUSH\tresource=default", "SDS: PUSH\tresource=ROOTCA", "upstream XDS server: istiod.istio-system.svc:15012"])
        {
            transcript.Output(await LogLineAsync(mesh.Vm, line, stop));
        }
        transcript.Check(true, "certificate, SDS push of default and ROOTCA, and the xDS stream are in istio.log");
        foreach (LabHost host in (LabHost[])[mesh.Pod, mesh.Vm])
        {
            await Waiting.ForAsync($"15021 ready on {host.Name}", Patience, () => CurlAsync(host, null, stop, "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:15021/healthz/ready"), r => r.Output == "200", stop);
            ShellResult applied = await host.RunAsync(null, stop, options.VmSidecar, "iptables", "apply", "--root", host.Root);
            transcript.Command(host.Name, "vmsidecar iptables apply");
            transcript.Output(applied.All);
            transcript.Check(applied.Exit == 0, $"capture rules are in place on {host.Name}", applied.All);
        }
    }

    private async Task RegistrationAsync(CancellationToken stop)
    {
        transcript.Step(2, "istiod has registered the VM");
        JsonObject entry = (await Waiting.ForAsync("a healthy WorkloadEntry", Patience, () => mesh.EntryAsync(stop), e => e is not null && Healthy(e) == true, stop))!;
        transcript.Output(entry.ToJsonString());
        transcript.Check((string?)entry["name"] == $"nginx-{Network.VmAddress}", "the WorkloadEntry is named nginx-<ip>", (string?)entry["name"]);
        transcript.Check((string?)entry["labels"]?["class"] == "vm", "its labels carry class=vm", entry["labels"]?.ToJsonString());
        transcript.Check((string?)entry["serviceAccount"] == ScenarioMesh.VmAccount, "its service account is vm");
        transcript.Check((string?)entry["group"] == "nginx", "it belongs to the WorkloadGroup nginx");
    }

    private async Task NamesAsync(CancellationToken stop)
    {
        transcript.Step(3, "Names");
        ShellResult dig = await ShowAsync(mesh.Vm, LabHost.OrdinaryUser, stop, "dig", "+short", ScenarioMesh.Host);
        _virtualIp = dig.Output.Trim();
        transcript.Check(_virtualIp.StartsWith("240.240.", StringComparison.Ordinal), $"{ScenarioMesh.Host} has its virtual IP", dig.All);
        ShellResult getent = await ShowAsync(mesh.Vm, LabHost.OrdinaryUser, stop, "getent", "hosts", ScenarioMesh.Host);
        transcript.Check(getent.Output.StartsWith(_virtualIp, StringComparison.Ordinal), "getent agrees", getent.All);
        ShellResult outside = await ShowAsync(mesh.Vm, LabHost.OrdinaryUser, stop, "dig", "+short", LabMesh.OutsideName);
        transcript.Check(outside.Output.Trim() == LabMesh.OutsideAddress, "a name outside the mesh comes from the host's own resolver", outside.All);
    }

    private async Task TrafficAsync(CancellationToken stop)
    {
        transcript.Step(4, "The VM calls the service by name");
        long before = await RedirectedAsync(stop);
        string[] welcomes = await WelcomesAsync(20, shown: 4, stop);
        transcript.Check(welcomes.Contains(OnDocker) && welcomes.Contains(OnVm), "twenty calls reach both the pod and the VM", string.Join(", ", welcomes.Distinct()));
        transcript.Check(welcomes.All(w => w is OnDocker or OnVm), "and nobody else");
        long after = await RedirectedAsync(stop);
        transcript.Check(after - before >= 20, $"the calls went through the capture rules to 15001: {after - before} connections redirected", $"{before} then {after}");
    }

    /// <summary>Connections the rules have sent to 15001 so far.</summary>
    private async Task<long> RedirectedAsync(CancellationToken stop)
    {
        ShellResult counters = await ShowAsync(mesh.Vm, null, stop, "iptables", "-t", "nat", "-vnxL", "ISTIO_REDIRECT");
        string? rule = counters.Output.Split('\n').FirstOrDefault(l => l.Contains("redir ports 15001", StringComparison.Ordinal));
        return rule is null ? -1 : long.Parse(rule.Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], System.Globalization.CultureInfo.InvariantCulture);
    }

    private async Task RoutesAsync(CancellationToken stop)
    {
        transcript.Step(5, "Routing rules");
        foreach ((string subset, string welcome) in ((string, string)[])[("vm", OnVm), ("docker", OnDocker)])
        {
            transcript.Command("mesh", $"istiod: 100 % of {ScenarioMesh.Host} to subset {subset}");
            await mesh.Istiod.RouteAsync(subset, stop);
            await Waiting.ForAsync($"the route to {subset}", Patience, () => WelcomesAsync(5, 0, stop), w => w.All(x => x == welcome), stop);
            string[] welcomes = await WelcomesAsync(20, shown: 2, stop);
            transcript.Check(welcomes.All(w => w == welcome), $"twenty of twenty say '{welcome}'", string.Join(", ", welcomes.Distinct()));
        }
        await mesh.Istiod.RouteAsync("vm", stop);
    }

    private async Task InboundAsync(CancellationToken stop)
    {
        transcript.Step(6, "A pod calls the VM over mTLS");
        string[] call = ["-sS", "--max-time", "10", "-H", $"Host: {ScenarioMesh.Host}", $"http://{_virtualIp}/"];
        await Waiting.ForAsync("the pod's route to the VM", Patience, () => CurlAsync(mesh.Pod, LabHost.OrdinaryUser, stop, call), r => r.Output.StartsWith(OnVm, StringComparison.Ordinal), stop);
        ShellResult answer = await ShowAsync(mesh.Pod, LabHost.OrdinaryUser, stop, ["curl", .. call]);
        transcript.Check(answer.Output.StartsWith(OnVm, StringComparison.Ordinal), "the VM answers", answer.All);
        transcript.Check(answer.Output.Contains($"URI=spiffe://cluster.local/ns/{ScenarioMesh.Namespace}/sa/{ScenarioMesh.PodAccount}", StringComparison.Ordinal), "the VM saw the pod's identity", answer.All);
        transcript.Check(answer.Output.Contains($"By=spiffe://cluster.local/ns/{ScenarioMesh.Namespace}/sa/{ScenarioMesh.VmAccount}", StringComparison.Ordinal), "under its own, which the pod checks", answer.All);
        await RefusedAsync("a client without TLS", stop, "curl", "-sS", "--max-time", "10", $"http://{Network.VmAddress}/");
        await RefusedAsync("a client without a certificate", stop, "curl", "-sSk", "--max-time", "10", $"https://{Network.VmAddress}:80/");
        await RefusedAsync("a client of another mesh", stop, "curl", "-sSk", "--max-time", "10",
            "--cert", Path.Combine(mesh.ForeignCertificates, "cert-chain.pem"), "--key", Path.Combine(mesh.ForeignCertificates, "key.pem"), $"https://{Network.VmAddress}:80/");
    }

    private async Task HealthAsync(CancellationToken stop)
    {
        transcript.Step(7, "Health");
        transcript.Command("vm", "systemctl stop nginx (the web server stops)");
        await mesh.Vm.StopWebAsync(stop);
        await Waiting.ForAsync("the WorkloadEntry to turn unhealthy", Patience, () => mesh.EntryAsync(stop), e => e is not null && Healthy(e) == false, stop);
        transcript.Check(true, "the WorkloadEntry is unhealthy");
        transcript.Command("vm", "systemctl start nginx");
        await mesh.Vm.StartWebAsync(OnVm, stop);
        await Waiting.ForAsync("the WorkloadEntry to turn healthy", Patience, () => mesh.EntryAsync(stop), e => e is not null && Healthy(e) == true, stop);
        transcript.Check(true, "the WorkloadEntry is healthy again");
        JsonArray violations = await mesh.Istiod.ViolationsAsync(stop);
        transcript.Check(violations.Count == 0, "istiod saw no violation of the protocol", violations.ToJsonString());
    }

    /// <summary>Restarts the agent five times with a probe beside it, then lets it stand a minute: the figures of the note, with the load of the machine.</summary>
    public async Task FiguresAsync(CancellationToken stop)
    {
        List<TimeSpan> dns = [], ready = [];
        for (int i = 0; i < 5; i++)
        {
            await mesh.Vm.RunAsync(null, stop, options.VmSidecar, "iptables", "clean", "--root", mesh.Vm.Root);
            await mesh.Vm.Agent!.TerminateAsync(Patience, stop);
            (TimeSpan first, TimeSpan up) = await mesh.Vm.StartAgentTimedAsync(options.VmSidecar, LabMesh.OutsideName, stop);
            dns.Add(first);
            ready.Add(up);
        }
        await mesh.Vm.RunAsync(null, stop, options.VmSidecar, "iptables", "apply", "--root", mesh.Vm.Root);
        await Task.Delay(TimeSpan.FromMinutes(1), TimeProvider.System, stop);
        transcript.Note($"load {(await File.ReadAllTextAsync("/proc/loadavg", stop)).Trim()}");
        transcript.Note($"exec to first DNS answer outside the mesh: median {Median(dns)} ms of {string.Join(" ", dns.Select(t => (int)t.TotalMilliseconds))}");
        transcript.Note($"exec to ready on 15021: median {Median(ready)} ms of {string.Join(" ", ready.Select(t => (int)t.TotalMilliseconds))}");
        transcript.Note($"agent after a minute: {mesh.Vm.Memory()}");

        static int Median(List<TimeSpan> times) => (int)times.Order().ElementAt(times.Count / 2).TotalMilliseconds;
    }

    /// <summary>Step 8: rules off, drain, nothing left.</summary>
    public async Task DownAsync(CancellationToken stop)
    {
        transcript.Step(8, "Stop");
        ShellResult cleaned = await ShowAsync(mesh.Vm, null, stop, options.VmSidecar, "iptables", "clean", "--root", mesh.Vm.Root);
        transcript.Check(cleaned.Exit == 0, "the rules come off first", cleaned.All);
        transcript.Command("vm", "kill -TERM <agent>");
        bool inTime = await mesh.Vm.Agent!.TerminateAsync(Patience, stop);
        transcript.Output(await LogLineAsync(mesh.Vm, "Agent has successfully terminated", stop));
        transcript.Check(inTime, "the agent drained Envoy and ended by itself");
        string rules = await mesh.Vm.RulesAsync(stop);
        transcript.Check(rules == _rulesBefore, "iptables-save is what it was before", rules);
        string inside = (await Shell.RunAsync(["ip", "netns", "pids", Network.Vm], stop)).Output;
        transcript.Check(!await AnyAsync(inside, LabHost.ProxyUser, stop), "no process of the agent's is left", inside);
    }

    private static async Task<bool> AnyAsync(string pids, int uid, CancellationToken stop)
    {
        foreach (string pid in pids.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if ((await Shell.RunAsync(["ps", "-o", "uid=", "-p", pid], stop)).Output.Trim() == $"{uid}") { return true; }
        }
        return false;
    }

    private async Task RefusedAsync(string who, CancellationToken stop, params string[] command)
    {
        transcript.Command("mesh", string.Join(' ', command));
        ShellResult result = await Shell.RunAsync(Shell.Inside(Network.Mesh, LabHost.OrdinaryUser, command), stop);
        transcript.Output(result.All);
        transcript.Check(result.Exit is 18 or 35 or 52 or 55 or 56 && !result.Output.Contains("Welcome", StringComparison.Ordinal), $"{who} is refused", result.All);
    }

    private async Task<string[]> WelcomesAsync(int count, int shown, CancellationToken stop)
    {
        List<string> seen = [];
        for (int i = 0; i < count; i++)
        {
            ShellResult result = await CurlAsync(mesh.Vm, LabHost.OrdinaryUser, stop, "-sS", "--max-time", "10", ScenarioMesh.Host);
            if (i < shown)
            {
                transcript.Command("vm", $"curl {ScenarioMesh.Host}");
                transcript.Output(result.All);
            }
            seen.Add(result.Exit == 0 ? result.Output.Split('\n')[0] : result.Error.Trim());
        }
        return [.. seen];
    }

    private async Task<ShellResult> ShowAsync(LabHost host, int? uid, CancellationToken stop, params string[] command)
    {
        transcript.Command(host.Name, string.Join(' ', command.Select(c => Path.GetFileName(c).Length > 0 && c == options.VmSidecar ? "vmsidecar" : c)));
        ShellResult result = await host.RunAsync(uid, stop, command);
        transcript.Output(result.All);
        return result;
    }

    private static Task<ShellResult> CurlAsync(LabHost host, int? uid, CancellationToken stop, params string[] arguments) => host.RunAsync(uid, stop, ["curl", .. arguments]);

    private static async Task<string> LogLineAsync(LabHost host, string text, CancellationToken stop) => (await Waiting.ForAsync(
        $"'{text}' in {host.Name}'s istio.log", Patience,
        async () => File.Exists(host.IstioLog) ? (await File.ReadAllLinesAsync(host.IstioLog, stop)).FirstOrDefault(l => l.Contains(text, StringComparison.Ordinal)) : null,
        line => line is not null, stop))!;

    private static bool? Healthy(JsonObject entry) => entry["healthy"] is JsonValue value && value.TryGetValue(out bool healthy) ? healthy : null;
}
