using System.Text.Json.Nodes;
using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The verbs as an operator meets them: words, exit codes, and what they leave undone.</summary>
public sealed class IptablesCommandTests : IDisposable
{
    private static readonly Dictionary<string, string> s_vm = new()
    {
        ["ISTIO_INBOUND_PORTS"] = "*", ["ISTIO_SERVICE_CIDR"] = "*", ["ISTIO_LOCAL_EXCLUDE_PORTS"] = "22,15090,15021,15020", ["ISTIO_META_DNS_CAPTURE"] = "true", ["PROXY_UID"] = "113", ["PROXY_GID"] = "113",
    };

    private readonly string _root = Directory.CreateTempSubdirectory("vsc-command").FullName;
    private readonly StringWriter _out = new(), _error = new();

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task Custom_rules_leave_the_host_alone()
    {
        IptablesCommand command = Command(new Untouchable(), new(s_vm) { ["ISTIO_CUSTOM_IP_TABLES"] = "true" });
        Assert.Equal(0, await command.RunAsync(["apply"], CancellationToken.None));
        Assert.Equal(0, await command.RunAsync(["clean"], CancellationToken.None));
        Assert.Equal(0, await command.RunClassicAsync([], CancellationToken.None));
        Assert.Equal(0, await command.RunClassicCleanAsync([], CancellationToken.None));
    }

    [Fact]
    public async Task A_mistake_stops_apply_before_any_command_and_names_its_place()
    {
        IptablesCommand command = Command(new Untouchable(), new(s_vm) { ["ISTIO_SERVICE_CIDR"] = "10.0.0.0/8;reboot" });
        Assert.Equal(78, await command.RunAsync(["apply"], CancellationToken.None));
        Assert.Contains("cluster.env:4: ISTIO_SERVICE_CIDR: '10.0.0.0/8;reboot' is not an address range", _error.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "usage: vmsidecar iptables")]
    [InlineData("frobnicate", "usage: vmsidecar iptables")]
    [InlineData("apply --nonsense", "Error: unknown flag: --nonsense")]
    [InlineData("apply --confirm soon", "Error: invalid argument \"soon\" for --confirm")]
    [InlineData("watch --failure-mode ajar", "Error: invalid argument \"ajar\" for --failure-mode")]
    public async Task Bad_usage_is_255_as_for_the_classic_command(string line, string said)
    {
        Assert.Equal(255, await Command(new Untouchable(), s_vm).RunAsync(line.Split(' ', StringSplitOptions.RemoveEmptyEntries), CancellationToken.None));
        Assert.Contains(said, _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Show_prints_what_apply_would_load_each_rule_with_its_reason()
    {
        IptablesCommand command = Command(new Untouchable(), s_vm);
        Assert.Equal(0, await command.RunAsync(["show"], CancellationToken.None));
        string shown = _out.ToString();
        Assert.Contains("*nat\n", shown, StringComparison.Ordinal);
        Assert.All(shown.Split('\n').Where(l => l.StartsWith("-A", StringComparison.Ordinal)), l => Assert.Matches("--comment \"vmsidecar: [A-Za-z0-9 ,:.-]+\"", l));
        Assert.Contains("-d 127.0.0.53/32 -p udp -m udp --dport 53", shown, StringComparison.Ordinal);
        _out.GetStringBuilder().Clear();
        Assert.Equal(0, await command.RunAsync(["show", "--json"], CancellationToken.None));
        Assert.All(JsonNode.Parse(_out.ToString())!.AsArray(), rule => Assert.NotEqual("", rule!["why"]!.ToString()));
        _out.GetStringBuilder().Clear();
        Assert.Equal(0, await command.RunAsync(["show", "--backend=nftables"], CancellationToken.None));
        Assert.Contains("table inet vmsidecar {", _out.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_classic_dry_run_prints_and_touches_nothing()
    {
        Assert.Equal(0, await Command(new Untouchable(), s_vm).RunClassicAsync(["-p", "16001", "--dry-run"], CancellationToken.None));
        Assert.Contains("--to-ports 16001", _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("Istio iptables environment:\nENVOY_PORT=\n", _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("\nPROXY_PORT=16001\nPROXY_INBOUND_CAPTURE_PORT=15006\n", _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("Running iptables restore with: iptables-restore and the following input:\n* nat\n-N ISTIO_INBOUND\n", _out.ToString(), StringComparison.Ordinal);
        _out.GetStringBuilder().Clear();
        Assert.Equal(0, await Command(new Untouchable(), s_vm).RunClassicAsync(["-n", "--rules-compat", "1.10"], CancellationToken.None));
        Assert.StartsWith("Environment:\n------------\nENVOY_PORT=\n", _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("\nVariables:\n----------\nPROXY_PORT=15001\n", _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("DNS_CAPTURE=true\nDNS_SERVERS=[127.0.0.53],[]\n", _out.ToString(), StringComparison.Ordinal);
    }

    /// <summary>What a dry run prints can be fed to the tool: both spellings come to the same rules.</summary>
    [Theory]
    [InlineData("current")]
    [InlineData("1.10")]
    public async Task The_classic_text_loads_the_same_rules(string compat)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions options = PilotCase.Options(["-b", "*", "-i", "10.0.0.0/8", "-m", "TPROXY", "-k", "eth1,eth2", "--redirect-dns", "--rules-compat", compat], PilotCase.Host);
        await lab.Vm.RunAsync("iptables-nft-restore --noflush", ClassicText.Restore(IptablesProgram.For(options, IpFamily.V4)));
        Assert.DoesNotContain(await DiffAsync(), d => d.Table != "routing");
        async Task<IEnumerable<TableDiff>> DiffAsync() => (await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables.Select(t => t.Diff);
    }

    [Fact]
    public async Task Every_verb_speaks_json()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        Assert.Equal("""{"act":"applied","changed":true}""", await JsonAsync(0, lab, s_vm, "apply"));
        Assert.StartsWith("""{"backend":"iptables-nft","same":true""", await JsonAsync(0, lab, s_vm, "diff"), StringComparison.Ordinal);
        Assert.StartsWith("""[{"tool":"iptables-nft-restore","input":"*nat\n""", await JsonAsync(0, lab, s_vm, "clean --dry-run"), StringComparison.Ordinal);
        Assert.Equal("""{"act":"applied","changed":true}{"act":"returned","changed":false}""", await JsonAsync(1, lab, new(s_vm) { ["ENVOY_PORT"] = "16001" }, "apply --confirm 30"));
        Assert.Equal("""{"act":"cleaned","changed":true}""", await JsonAsync(0, lab, s_vm, "clean"));
        Assert.Contains("""{"file":"cluster.env","line":4,"setting":"ENVOY_PORT","problem":""", await JsonAsync(78, lab, new(s_vm) { ["ENVOY_PORT"] = "x" }, "apply"), StringComparison.Ordinal);
        Assert.StartsWith("""{"error":"iptables""", await JsonAsync(1, null, s_vm, "apply --backend iptables-legacy"), StringComparison.Ordinal);
    }

    private async Task<string> JsonAsync(int exit, CaptureLab? lab, Dictionary<string, string> environment, string line)
    {
        _out.GetStringBuilder().Clear();
        ICommandRunner commands = lab?.Vm.Commands ?? new Answering((program, _) => new CommandResult(CommandResult.NotStarted, "", $"{program} is not installed"));
        Assert.Equal(exit, await Command(commands, environment, lab?.State).RunAsync([.. line.Split(' '), "--json"], CancellationToken.None));
        return _out.ToString().ReplaceLineEndings("");
    }

    [Fact]
    public async Task Without_any_tool_the_failure_says_what_to_install()
    {
        var nothing = new Answering((program, _) => new CommandResult(CommandResult.NotStarted, "", $"{program} is not installed"));
        Assert.Equal(1, await Command(nothing, s_vm).RunAsync(["apply"], CancellationToken.None));
        Assert.Contains("is not installed", _error.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(CaptureBackendKind.Automatic, "neither iptables nor nft is installed")]
    [InlineData(CaptureBackendKind.Nftables, "nft is not installed")]
    internal async Task A_host_with_no_tool_is_told_which_package_to_install(CaptureBackendKind backend, string problem)
    {
        var nothing = new Answering((program, _) => new CommandResult(CommandResult.NotStarted, "", $"{program} is not installed"));
        var runner = new IptablesRunner(nothing, _root, TimeProvider.System) { Kernel = new IptablesKernel(nothing) { Exists = _ => false } };
        FatalException failure = await Assert.ThrowsAsync<FatalException>(() => runner.ApplyAsync(new CaptureOptions { Backend = backend }, CancellationToken.None));
        Assert.StartsWith(problem, failure.Problem, StringComparison.Ordinal);
        Assert.StartsWith("Install the iptables package", failure.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cleaning_works_with_a_broken_configuration()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["apply"], CancellationToken.None));
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["diff"], CancellationToken.None));
        Assert.Equal(1, await Command(lab.Vm.Commands, new(s_vm) { ["ENVOY_PORT"] = "16001" }, lab.State).RunAsync(["diff"], CancellationToken.None));
        Assert.Contains("missing  -A ISTIO_REDIRECT", _out.ToString(), StringComparison.Ordinal);
        Assert.Equal(0, await Command(lab.Vm.Commands, new() { ["ISTIO_INBOUND_PORTS"] = "x" }, lab.State).RunAsync(["clean"], CancellationToken.None));
        Assert.DoesNotContain("ISTIO", await lab.SaveAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("auto")]
    [InlineData("nftables")]
    public async Task Unconfirmed_rules_are_taken_back_and_confirmed_ones_stay(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string[] apply = ["apply", "--confirm", "30", "--backend", backend];
        string before = await lab.Vm.RunAsync("nft -s list ruleset");
        var time = new ManualTimeProvider();
        Task<int> waiting = Command(lab.Vm.Commands, s_vm, lab.State, time, () => { new ManualResetEventSlim().Wait(Test.Deadline); return null; }).RunAsync(apply, CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(30), await NextAsync(time));
        Assert.Contains("15001", await lab.Vm.RunAsync("nft -s list ruleset"), StringComparison.Ordinal);
        time.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal(1, await waiting.WaitAsync(Test.Deadline));
        Assert.Equal(before, await lab.Vm.RunAsync("nft -s list ruleset"));

        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State, null, () => "").RunAsync(apply, CancellationToken.None));
        string kept = await lab.Vm.RunAsync("nft -s list ruleset");
        Assert.Equal(1, await Command(lab.Vm.Commands, new(s_vm) { ["ENVOY_PORT"] = "16001" }, lab.State, null, () => null).RunAsync(apply, CancellationToken.None));
        Assert.Equal(kept, await lab.Vm.RunAsync("nft -s list ruleset"));
    }

    [Fact]
    public async Task Watch_repairs_what_others_flushed()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        var time = new ManualTimeProvider();
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["apply"], CancellationToken.None));
        using var stop = new CancellationTokenSource();
        Task<int> watching = Command(lab.Vm.Commands, s_vm, lab.State, time).RunAsync(["watch", "--repair", "--interval", "10"], stop.Token);
        await NextAsync(time, TimeSpan.FromSeconds(10));
        await lab.Vm.RunAsync("iptables-nft -t nat -F");
        time.Advance(TimeSpan.FromSeconds(10));
        await NextAsync(time, TimeSpan.FromSeconds(10));
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["diff"], CancellationToken.None));
        await stop.CancelAsync();
        Assert.Equal(0, await watching.WaitAsync(Test.Deadline));
    }

    [Fact]
    public async Task Watch_follows_the_resolvers_of_the_host()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        var time = new ManualTimeProvider();
        string server = "127.0.0.53";
        IptablesCommand Made(TimeProvider clock) => new(lab.Vm.Commands, new HostPaths(lab.State), s_vm, _out, _error)
        {
            Host = () => new CaptureHost { ResolvConf = $"nameserver {Volatile.Read(ref server)}\n", Passwd = "istio-proxy:x:113:113:::\n" },
            Time = clock,
            IsServed = _ => Task.FromResult(true),
        };
        Assert.Equal(0, await Made(TimeProvider.System).RunAsync(["apply"], CancellationToken.None));
        using var stop = new CancellationTokenSource();
        Task<int> watching = Made(time).RunAsync(["watch", "--repair", "--interval=10"], stop.Token);
        await NextAsync(time, TimeSpan.FromSeconds(10));
        Volatile.Write(ref server, "10.99.0.53");
        time.Advance(TimeSpan.FromSeconds(10));
        await NextAsync(time, TimeSpan.FromSeconds(10));
        string rules = await lab.SaveAsync();
        Assert.Contains("-d 10.99.0.53/32 -p udp", rules, StringComparison.Ordinal);
        Assert.DoesNotContain("127.0.0.53", rules, StringComparison.Ordinal);
        await stop.CancelAsync();
        await watching.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task A_firewall_that_drops_by_default_is_pointed_out_with_the_rule_it_needs()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Vm.RunAsync("iptables-nft -P INPUT DROP");
        await lab.Vm.RunAsync("iptables-nft -A INPUT -i lo -j ACCEPT");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", 113, 113);
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["apply"], CancellationToken.None));
        Assert.Contains("-m conntrack --ctorigdstport 8080 -j ACCEPT", _error.ToString(), StringComparison.Ordinal);
        await lab.Vm.RunAsync("iptables-nft -I INPUT -p tcp -m conntrack --ctorigdstport 8080 -j ACCEPT");
        Assert.StartsWith("inbound ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "10.99.0.1", 8080), StringComparison.Ordinal);
        _error.GetStringBuilder().Clear();
        Assert.Equal(0, await Command(lab.Vm.Commands, s_vm, lab.State).RunAsync(["apply"], CancellationToken.None));
        Assert.Equal("", _error.ToString());
    }

    [Fact]
    public async Task A_dry_run_writes_its_file()
    {
        string path = Path.GetTempFileName();
        Assert.Equal(0, await Command(new Untouchable(), new(s_vm) { ["DRY_RUN_FILE_PATH"] = path }).RunClassicAsync(["-n"], CancellationToken.None));
        Assert.StartsWith("* nat\n-N ISTIO_INBOUND\n", await File.ReadAllTextAsync(path), StringComparison.Ordinal);
        File.Delete(path);
        Assert.Equal(1, await Command(new Untouchable(), new(s_vm) { ["DRY_RUN_FILE_PATH"] = Path.Combine(_root, "no-folder", "x") }).RunClassicAsync(["-n"], CancellationToken.None));
    }

    /// <summary>Skips the timers of the probe and the lock.</summary>
    private static async Task<TimeSpan> NextAsync(ManualTimeProvider time, TimeSpan? wanted = null)
    {
        while (true)
        {
            TimeSpan armed = await time.NextTimerAsync(Test.Deadline);
            if (armed == (wanted ?? TimeSpan.FromSeconds(30))) { return armed; }
        }
    }

    private IptablesCommand Command(ICommandRunner commands, Dictionary<string, string> environment, string? root = null, TimeProvider? time = null, Func<string?>? readLine = null) =>
        new(commands, new HostPaths(root ?? _root), environment, _out, _error)
        {
            Host = () => new CaptureHost { ResolvConf = "nameserver 127.0.0.53\n", Passwd = "istio-proxy:x:113:113:::\n" },
            Origin = _ => ("cluster.env", 4),
            Time = time ?? TimeProvider.System,
            ReadLine = readLine ?? (() => null),
            IsServed = _ => Task.FromResult(true),
        };

    /// <summary>Fails the test when anything is run.</summary>
    private sealed class Untouchable : ICommandRunner
    {
        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop) =>
            throw new InvalidOperationException($"{program} must not run");
    }

    private sealed class Answering(Func<string, IReadOnlyList<string>, CommandResult> answer) : ICommandRunner
    {
        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop) => Task.FromResult(answer(program, arguments));
    }
}
