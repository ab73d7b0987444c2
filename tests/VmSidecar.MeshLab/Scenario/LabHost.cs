using VmSidecar.MeshLab.Lab;

namespace VmSidecar.MeshLab.Scenario;

/// <summary>One machine of the lab: a namespace, a root folder with the classic paths in it, a web server, and the agent.</summary>
internal sealed class LabHost(string name, string netns, string address, string folder) : IAsyncDisposable
{
    /// <summary>What the capture rules exempt where the user istio-proxy does not exist.</summary>
    public const int ProxyUser = 1337;

    /// <summary>Anybody.</summary>
    public const int OrdinaryUser = 65534;

    private Daemon? _web;

    public string Name => name;
    public string Netns => netns;
    public string Address => address;

    /// <summary>All classic paths of this machine are below it.</summary>
    public string Root { get; } = Path.Combine(folder, name);

    public Daemon? Agent { get; private set; }

    /// <summary>The log an operator reads.</summary>
    public string IstioLog => Path.Combine(Root, "var/log/istio/istio.log");

    /// <summary>Starts the web server and waits until it listens.</summary>
    public async Task StartWebAsync(string text, CancellationToken stop)
    {
        _web = Daemon.Start($"{name} web", Path.Combine(folder, $"{name}-web.log"),
            Shell.Inside(netns, null, "dotnet", "exec", typeof(LabHost).Assembly.Location, "web", "0.0.0.0", "80", text));
        await _web.LineAsync("listening on", TimeSpan.FromSeconds(60), stop);
    }

    public async Task StopWebAsync(CancellationToken stop)
    {
        if (_web is not null) { await _web.TerminateAsync(TimeSpan.FromSeconds(20), stop); }
    }

    /// <summary>Starts the agent the way the unit does: as the proxy user, nothing else.</summary>
    public void StartAgent(string vmsidecar) => Agent = Daemon.Start($"{name} agent", Path.Combine(folder, $"{name}-agent.out"),
        Shell.Inside(netns, ProxyUser, vmsidecar, "run", "--root", Root));

    /// <summary>Starts the agent with a probe beside it; returns the times from exec to the first DNS answer and to ready on 15021.</summary>
    public async Task<(TimeSpan Dns, TimeSpan Ready)> StartAgentTimedAsync(string vmsidecar, string name, CancellationToken stop)
    {
        await using Daemon probe = Daemon.Start("probe", Path.Combine(folder, "probe.log"), Shell.Inside(netns, null, "dotnet", "exec", typeof(LabHost).Assembly.Location, "probe", name));
        await probe.LineAsync("probing", TimeSpan.FromSeconds(60), stop);
        long begin = TimeProvider.System.GetUtcNow().UtcTicks;
        StartAgent(vmsidecar);
        return (await At("dns "), await At("ready "));

        async Task<TimeSpan> At(string what) => TimeSpan.FromTicks(
            long.Parse((await probe.LineAsync(what, TimeSpan.FromSeconds(90), stop))[what.Length..], System.Globalization.CultureInfo.InvariantCulture) - begin);
    }

    /// <summary>Resident memory of the agent as the kernel counts it, e.g. <c>VmRSS: 31000 kB</c> and its private part.</summary>
    public string Memory() => string.Join(", ", File.ReadLines($"/proc/{Agent!.Pid}/status").Where(l => l.StartsWith("VmRSS", StringComparison.Ordinal) || l.StartsWith("RssAnon", StringComparison.Ordinal)).Select(l => l.Replace('\t', ' ')));

    /// <summary>Runs a command on this machine.</summary>
    public Task<ShellResult> RunAsync(int? uid, CancellationToken stop, params string[] command) => Shell.RunAsync(Shell.Inside(netns, uid, command), stop);

    /// <summary>Everything iptables knows here, without counters and comments of the tool.</summary>
    public async Task<string> RulesAsync(CancellationToken stop)
    {
        string v4 = await Shell.MustAsync(stop, Shell.Inside(netns, null, "iptables-save")), v6 = await Shell.MustAsync(stop, Shell.Inside(netns, null, "ip6tables-save"));
        return string.Join('\n', (v4 + v6).Split('\n').Where(l => l.Length > 0 && l[0] != '#').Select(WithoutCounters).Where(l => !IsEmptyChain(l)));
    }

    /// <summary>Gives the proxy user everything the agent must write.</summary>
    public async Task OwnAsync(CancellationToken stop) => await Shell.MustAsync(stop, "chown", "-R", $"{ProxyUser}:{ProxyUser}", Root);

    public async ValueTask DisposeAsync()
    {
        if (Agent is not null) { await Agent.DisposeAsync(); }
        if (_web is not null) { await _web.DisposeAsync(); }
    }

    private static string WithoutCounters(string line) => line.IndexOf(" [", StringComparison.Ordinal) is var at and > 0 && line[0] == ':' ? line[..at] : line;

    /// <summary>A table that was once looked at prints its built-in chains: that is not a rule.</summary>
    private static bool IsEmptyChain(string line) => line[0] is '*' or ':' && (line[0] == '*' || line.EndsWith(" ACCEPT", StringComparison.Ordinal)) || line == "COMMIT";
}
