using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// docker beside capture: a port it publishes belongs to the container, whoever of the two came first. When docker is restarted its jump goes to the end of
/// the built-in chain; when firewalld is, everybody's rules go. The watch notices both, says whose rule it is, and puts ours right.
/// </summary>
public sealed class DockerTests
{
    private const string Jump = "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER";
    private static readonly CaptureWatchOptions s_repair = CaptureWatchOptions.Default with { Repair = true };

    public static TheoryData<string> Backends => ["iptables-nft", "iptables-legacy", "nftables"];

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task A_published_port_stays_the_containers_when_docker_restarts(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string iptables = backend == "iptables-legacy" ? backend : "iptables-nft";
        await PublishAsync(lab, iptables);
        CaptureOptions options = CaptureLab.Options with { Backend = SafetyTests.Kind(backend), ContainerBridges = ["d0"] };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        Assert.StartsWith("container 172.30.0.2:80", await AskAsync(lab, 8081), StringComparison.Ordinal);
        Assert.StartsWith("inbound 10.99.0.1:15006", await AskAsync(lab, 8080), StringComparison.Ordinal);

        await RestartAsync(lab, iptables);
        var diff = (await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables;
        if (backend == "nftables") { Assert.Empty(diff); }
        else
        {
            Assert.StartsWith("inbound ", await AskAsync(lab, 8081), StringComparison.Ordinal); // what the flipped order does
            Assert.Equal($"-A {Jump}", Assert.Single(Assert.Single(diff).Diff.Behind));
        }
        Assert.Equal(backend != "nftables", await lab.Runner().ApplyAsync(options, CancellationToken.None));
        Assert.StartsWith("container 172.30.0.2:80", await AskAsync(lab, 8081), StringComparison.Ordinal);
        Assert.StartsWith("inbound 10.99.0.1:15006", await AskAsync(lab, 8080), StringComparison.Ordinal);
        Assert.Empty((await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables);
        Assert.False(await lab.Runner().ApplyAsync(options, CancellationToken.None));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task The_watch_names_the_rule_that_came_after_ours(bool repair)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await PublishAsync(lab, "iptables-nft");
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        await using Watched watched = new(lab, s_repair with { Repair = repair });
        await watched.LookAsync();
        Assert.Empty(watched.Log.Lines);
        await RestartAsync(lab, "iptables-nft");
        await watched.LookAsync();
        string line = Assert.Single(watched.Log.Lines);
        Assert.Contains($"behind   -A {Jump}", line, StringComparison.Ordinal);
        Assert.Contains("of others", line, StringComparison.Ordinal);
        Assert.StartsWith(repair ? "container" : "inbound", await AskAsync(lab, 8081), StringComparison.Ordinal);
        await watched.LookAsync();
        Assert.Single(watched.Log.Lines); // said once
    }

    /// <summary><c>iptables -t nat -F</c>, firewalld's reload: all of nat is gone, docker's part too, which is docker's to put back.</summary>
    [Fact]
    public async Task A_flush_of_the_whole_table_is_put_right_before_and_after_docker_is_back()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await PublishAsync(lab, "iptables-nft");
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        await using Watched watched = new(lab, s_repair);
        await watched.LookAsync();
        await lab.Vm.RunAsync("iptables-nft -t nat -F");
        await lab.Vm.RunAsync("iptables-nft -t nat -X");
        await watched.LookAsync();
        Assert.Contains("putting them right", Assert.Single(watched.Log.Lines), StringComparison.Ordinal);
        Assert.StartsWith("inbound 10.99.0.1:15006", await AskAsync(lab, 8080), StringComparison.Ordinal);
        await DockerRulesAsync(lab, "iptables-nft"); // docker after us
        await watched.LookAsync();
        Assert.StartsWith("container 172.30.0.2:80", await AskAsync(lab, 8081), StringComparison.Ordinal);
        Assert.Equal(2, watched.Log.Lines.Count);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
    }

    /// <summary>Two programs that both want to be last would fill the log for ever.</summary>
    [Fact]
    public async Task A_program_that_undoes_every_repair_is_named_ever_more_rarely()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await PublishAsync(lab, "iptables-nft");
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        await using Watched watched = new(lab, s_repair);
        await watched.LookAsync();
        for (int i = 0; i < 5; i++)
        {
            await RestartAsync(lab, "iptables-nft");
            await watched.LookAsync();
        }
        Assert.Equal(3, watched.Log.Lines.Count);
        Assert.Contains("another program has undone the repair of the capture rules 3 times in a row", watched.Log.Lines[^1], StringComparison.Ordinal);
    }

    private static async Task PublishAsync(CaptureLab lab, string iptables)
    {
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", CaptureLab.Proxy, CaptureLab.Proxy);
        lab.ListenTcp(await lab.AddContainerAsync(iptables), "0.0.0.0", 80, "container");
        await DockerRulesAsync(lab, iptables);
    }

    private static async Task DockerRulesAsync(CaptureLab lab, string iptables)
    {
        await lab.Vm.RunAsync($"{iptables} -t nat -N DOCKER");
        await lab.Vm.RunAsync($"{iptables} -t nat -A DOCKER ! -i d0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.30.0.2:80");
        await lab.Vm.RunAsync($"{iptables} -t nat -A {Jump}");
    }

    private static async Task RestartAsync(CaptureLab lab, string iptables)
    {
        await lab.Vm.RunAsync($"{iptables} -t nat -D {Jump}");
        await lab.Vm.RunAsync($"{iptables} -t nat -A {Jump}");
    }

    private static Task<string> AskAsync(CaptureLab lab, int port) => CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "10.99.0.1", port);

    /// <summary>A watch over a lab whose Envoy is up, that looks when told to.</summary>
    private sealed class Watched : IAsyncDisposable
    {
        private readonly ManualTimeProvider _time = new();
        private readonly CancellationTokenSource _stop = new();
        private readonly CaptureWatchOptions _options;
        private readonly Task _running;
        private bool _looked;

        public Watched(CaptureLab lab, CaptureWatchOptions options)
        {
            _options = options;
            _running = new CaptureWatch(lab.Runner(), () => CaptureLab.Options, options, _time, Log.CreateLogger("capture")) { IsServed = _ => Task.FromResult(true) }.RunAsync(_stop.Token);
        }

        public ListLog Log { get; } = new();

        /// <summary>Returns when the next look has ended.</summary>
        public async Task LookAsync()
        {
            if (_looked) { _time.Advance(_options.Interval); }
            _looked = true;
            while (await _time.NextTimerAsync(Test.Deadline) != _options.Interval) { }
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await _running.WaitAsync(Test.Deadline);
            _stop.Dispose();
            Log.Dispose();
        }
    }
}
