using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>A thousand VMs lose one istiod at the same moment.</summary>
public sealed class StampedeTests
{
    private static readonly DateTimeOffset s_start = new ManualTimeProvider().GetUtcNow();

    [Fact]
    public async Task A_thousand_agents_do_not_return_as_one_wave()
    {
        const int Agents = 1000;
        var time = new ManualTimeProvider();
        await using var shape = new RelayBench(delta: true);
        using var stop = new CancellationTokenSource();
        var dialer = new ScriptedDialer { Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: connection refused") };
        List<Task> running = [.. Enumerable.Range(0, Agents).Select(_ => Agent(shape, dialer, time).RunAsync(stop.Token))];

        List<double> delays = [];
        while (delays.Count < Agents)
        {
            TimeSpan due = await time.NextTimerAsync(Test.Deadline);
            if (due != Timeout.InfiniteTimeSpan) { delays.Add(due.TotalMilliseconds); }
        }
        Assert.All(delays, d => Assert.InRange(d, 1, 500));
        for (int tenth = 0; tenth < 5; tenth++)
        {
            // 200 of 1,000 are expected in each 100 ms; eight standard deviations either way
            Assert.InRange(delays.Count(d => (int)Math.Min(d / 100, 4) == tenth), 100, 300);
        }
        Assert.Equal(Agents, dialer.Dials); // one attempt each, then they wait
        await stop.CancelAsync();
        await Task.WhenAll(running).WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task An_istiod_that_dies_and_returns_is_met_by_a_trickle_and_not_by_waves()
    {
        const int Agents = 1000;
        TimeSpan step = TimeSpan.FromMilliseconds(100);
        var time = new ManualTimeProvider();
        await using var shape = new RelayBench(delta: true);
        using var stop = new CancellationTokenSource();
        var dialer = new ScriptedDialer();
        List<Task> running = [.. Enumerable.Range(0, Agents).Select(_ => Agent(shape, dialer, time).RunAsync(stop.Token))];
        List<PairedCall> streams = [];
        while (streams.Count < Agents) { streams.Add(await dialer.NextAsync()); }

        dialer.Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: connection refused");
        foreach (PairedCall stream in streams) { stream.End(new GrpcStatus(GrpcStatusCode.Unavailable, "connection lost")); } // all at the same moment
        List<double> due = await DuesAsync(time, Agents);
        Assert.All(Enumerable.Range(0, 5), tenth => Assert.InRange(due.Count(d => (int)Math.Min(d / 100, 4) == tenth), 100, 300)); // the first wait: 200 expected, eight standard deviations
        List<int> arrivals = [];
        double now = 0;
        for (bool dead = true; due.Count > 0; dead &= now < 20_000)
        {
            if (!dead) { dialer.Refuse = null; }
            now += step.TotalMilliseconds;
            int coming = due.RemoveAll(d => d <= now);
            time.Advance(step);
            if (dead) { coming = await RefusedAsync(time, due, coming, now); }
            else { for (int i = 0; i < coming; i++) { await dialer.NextAsync(); } }
            arrivals.Add(coming);
        }
        Assert.All(arrivals.Skip(10), a => Assert.InRange(a, 0, 200)); // later no tenth of a second meets more than a fifth of them
        Assert.InRange(arrivals.Skip(100).Take(100).Average(), 1, 40); // after ten seconds they ask seldom
        await stop.CancelAsync();
        await Task.WhenAll(running).WaitAsync(Test.Deadline);
    }

    [Fact]
    public Task A_thousand_agents_on_real_connections_return_as_a_trickle() => OwnProcess.RunAsync($"{typeof(StampedeTests).FullName}.{nameof(OnRealConnections)}");

    /// <summary>The body, for a process of its own. Each agent dials by TLS, with back-off on a virtual clock; istiod dies with all of its connections, refuses for a while, and returns.</summary>
    [Fact(Explicit = true)]
    public async Task OnRealConnections()
    {
        const int Agents = 1000;
        TimeSpan step = TimeSpan.FromMilliseconds(100);
        var time = new ManualTimeProvider();
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        await using var shape = new RelayBench(delta: true);
        using var stop = new CancellationTokenSource();
        var dialer = new IstiodDialer(Access(istiod, shape), istiod.Target, 1 << 20);
        List<Task> running = [];
        while (running.Count < Agents)
        {
            running.AddRange(Enumerable.Range(0, 20).Select(_ => Agent(shape, dialer, time).RunAsync(stop.Token)));
            await Test.UntilAsync(() => istiod.Streams.Count(s => s.State("NDS") == SyncState.Synced) == running.Count);
        }

        await istiod.KillAsync(); // all at the same moment
        List<double> due = await DuesAsync(time, Agents);
        Assert.All(due, d => Assert.InRange(d, 1, 500));
        Assert.InRange(due.Count(d => d < 250), 370, 630); // half expected; eight standard deviations either way
        double now = 0;
        for (; now < 3000; now += step.TotalMilliseconds) // dead: each attempt is refused by the kernel
        {
            int coming = due.RemoveAll(d => d <= now + step.TotalMilliseconds);
            time.Advance(step);
            await RefusedAsync(time, due, coming, now + step.TotalMilliseconds);
        }

        await istiod.StartAsync();
        int before = istiod.Ads.Opened, accepted = istiod.Front.Accepted;
        Dictionary<int, int> arrived = []; // by tenth of a second
        for (step = TimeSpan.FromMilliseconds(10); due.Count > 0;) // few handshakes at a time: they run against real limits
        {
            now += step.TotalMilliseconds;
            int coming = due.RemoveAll(d => d <= now), tenth = (int)(now / 100);
            time.Advance(step);
            arrived[tenth] = arrived.GetValueOrDefault(tenth) + coming;
            await Test.UntilAsync(() => istiod.Ads.Opened - before == arrived.Values.Sum());
        }
        await Test.UntilAsync(() => istiod.Streams.Count(s => s.State("NDS") == SyncState.Synced) == Agents);
        Assert.Equal(Agents, istiod.Front.Accepted - accepted); // one connection each, and none in vain
        Assert.InRange(arrived.Values.Max(), 1, 150);           // a wave would bring all of them in one tenth of a second; expected are about 50
        Assert.True(arrived.Values.Count(n => n > 0) >= 10, "they come over a second at least");
        await stop.CancelAsync();
        await Task.WhenAll(running).WaitAsync(Test.Deadline);
        await Test.UntilAsync(() => istiod.Front.Open == 0);
    }

    private static IstiodAccess Access(FakeIstiod istiod, RelayBench shape)
    {
        string roots = Path.Combine(shape.Folder, "roots.pem"), token = Path.Combine(shape.Folder, "token");
        File.WriteAllText(roots, istiod.RootsPem);
        File.WriteAllText(token, istiod.Tokens.Make("vm-ns", "vm-sa"));
        var identity = new IdentityOptions
        {
            CaAddress = istiod.Target, TrustDomain = "cluster.local", Namespace = "vm-ns", ServiceAccount = "vm-sa", ClusterId = "Kubernetes", XdsRootFile = roots, TokenFile = token,
        };
        return new IstiodAccess(identity, shape.Options with { DiscoveryAddress = istiod.Target, ServerName = "istiod.istio-system.svc" }, TimeProvider.System, NullLoggerFactory.Instance);
    }

    /// <summary>When the next waits that are armed end, milliseconds after the start of the clock.</summary>
    private static async Task<List<double>> DuesAsync(ManualTimeProvider time, int count)
    {
        List<double> due = [];
        while (due.Count < count) { due.Add((await time.NextDueAsync(Test.Deadline) - s_start).TotalMilliseconds); }
        return due;
    }

    /// <summary>Those who came in the step that ends at <paramref name="now"/> are refused and wait again; who waits shortly comes twice in it. Returns how often one came.</summary>
    private static async Task<int> RefusedAsync(ManualTimeProvider time, List<double> due, int coming, double now)
    {
        int came = coming;
        while (coming > 0)
        {
            List<double> again = await DuesAsync(time, coming);
            came += coming = again.RemoveAll(d => d <= now);
            due.AddRange(again);
        }
        return came;
    }

    private static AgentStream Agent(RelayBench shape, IIstiodDialer dialer, TimeProvider time)
    {
        var metrics = new XdsMetrics(shape.Metrics);
        var links = new XdsLinks(shape.Access, shape.Health, shape.Names, null) { Dialer = dialer };
        var keeper = new ResourceKeeper(shape.Folder, time, NullLogger.Instance);
        var context = new XdsContext(shape.Options, links, dialer, time, NullLogger.Instance)
        {
            Metrics = metrics,
            Tap = new XdsTap(links, metrics, time, NullLogger.Instance),
            Refusals = new RefusalReporter(shape.Access, dialer.Address, NullLogger.Instance),
            Mends = new MendLog(metrics, NullLogger.Instance),
            Keeper = keeper,
            Offline = new OfflineStart(keeper, TimeSpan.Zero, time, NullLogger.Instance),
        };
        return new AgentStream(context, new(new JointState(JointPhase.None, IstiodEnded: false)), new(new XdsMode(Delta: true, Settled: true)));
    }
}
