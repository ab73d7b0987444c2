using VmSidecar.Configuration;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>A rotator on real TLS against FakeIstiod, on a clock the test moves. A second start is a reboot: the disk stays, memory does not.</summary>
internal sealed class RotatorBench : IAsyncDisposable
{
    private RotatorBench(FakeIstiod istiod, ManualTimeProvider time, ManualTimeProvider agentTime)
    {
        Istiod = istiod;
        Time = time;
        AgentTime = agentTime;
        Options = Some.Options(Folder, istiod.Target);
        Boot();
    }

    public Folder Folder { get; } = new();
    public FakeIstiod Istiod { get; }

    /// <summary>istiod's clock.</summary>
    public ManualTimeProvider Time { get; }

    /// <summary>The VM's clock; the same object unless a test wants them apart.</summary>
    public ManualTimeProvider AgentTime { get; }

    public IdentityOptions Options { get; set; }
    public ListLog Log { get; private set; } = null!;
    public MetricRegistry Metrics { get; private set; } = null!;
    public Published<WorkloadSecrets> Secrets { get; private set; } = null!;
    public TrustBundle Trust { get; private set; } = null!;
    public IstiodAccess Access { get; private set; } = null!;
    public CertificateRotator Rotator { get; private set; } = null!;
    public Instruments Use => new(AgentTime, Log, Metrics);
    public int Calls => Istiod.Ca.Calls.Count;

    /// <summary>A VM as just provisioned: a root and a good token, nothing started.</summary>
    public static async Task<RotatorBench> ProvisionedAsync(IstiodOptions? options = null, TimeSpan agentAhead = default)
    {
        var time = new ManualTimeProvider();
        ManualTimeProvider agent = agentAhead == default ? time : new ManualTimeProvider(time.GetUtcNow() + agentAhead);
        FakeIstiod istiod = await FakeIstiod.StartedAsync((options ?? new()) with { Time = time });
        istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        var bench = new RotatorBench(istiod, time, agent);
        File.WriteAllText(bench.Folder.At("root-cert.pem"), istiod.RootsPem);
        bench.WriteToken();
        return bench;
    }

    /// <summary>In one step, as the agent's loop may read it at any time.</summary>
    public void WriteToken(string? token = null)
    {
        string made = Folder.At("made-token");
        File.WriteAllText(made, token ?? Istiod.Tokens.Make(Some.Namespace, Some.Account));
        File.Move(made, Options.TokenFile!, overwrite: true);
    }

    /// <summary>A new process on the same disk; not started. With <paramref name="left"/> it takes the place of an agent that had that.</summary>
    public void Boot(WorkloadSecrets? left = null)
    {
        (Log, Metrics, Secrets, Trust) = (new ListLog(), new MetricRegistry(), new Published<WorkloadSecrets>(), new TrustBundle());
        Access = new IstiodAccess(Options, Some.Xds(Istiod.Target), AgentTime, Log);
        Rotator = new CertificateRotator(Options, Access, Secrets, Trust, Use) { Estate = left };
    }

    public Task StartAsync() => Rotator.StartAsync(CancellationToken.None);

    public async Task RebootAsync()
    {
        await StopAsync();
        Boot();
        await StartAsync();
    }

    /// <summary>Waits, without moving the clock, for a status that satisfies.</summary>
    public async Task<IdentityStatus> StatusAsync(Func<IdentityStatus, bool> wanted)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            (IdentityStatus? now, Task changed) = Rotator.Status.Watch();
            if (now is not null && wanted(now)) { return now; }
            try { await changed.WaitAsync(limit.Token); }
            catch (OperationCanceledException) { throw new TimeoutException($"status stayed {now}\n{string.Join('\n', Log.Lines)}"); }
        }
    }

    public async Task<WorkloadSecrets> IssuedAsync()
    {
        await StatusAsync(s => s.Condition == IdentityCondition.Good && s.Failures == 0);
        return Secrets.Current!;
    }

    /// <summary>Starts and returns the first certificate.</summary>
    public async Task<WorkloadSecrets> FirstAsync()
    {
        await StartAsync();
        return await IssuedAsync();
    }

    /// <summary>Moves the clock, a step at each timer the agent arms, until a new leaf is out. Stops moving as soon as a request is under way.</summary>
    public async Task<WorkloadSecrets> RenewedAsync(TimeSpan? step = null)
    {
        WorkloadSecrets old = Secrets.Current!;
        Counter asked = Metrics.Counter("num_outgoing_requests", "", "request_type=\"csr\"");
        long before = asked.Value;
        while (asked.Value == before)
        {
            TimeSpan due = await NextSleepAsync();
            Advance(step ?? due);
        }
        await StatusAsync(s => s.Failures == 0 && Secrets.Current!.Serial != old.Serial && s.CertificateUntil == Secrets.Current!.NotAfter);
        return Secrets.Current!;
    }

    /// <summary>The next sleep of the rotation or of a retry. The regular look of file watches (30 s) is passed over: it runs while requests are under way, when the clock must stand still.</summary>
    public async Task<TimeSpan> NextSleepAsync()
    {
        while (true)
        {
            TimeSpan due = await AgentTime.NextTimerAsync(Test.Deadline);
            if (due != TimeSpan.FromSeconds(30)) { return due; }
        }
    }

    /// <summary>Waits for a timer of exactly this length and lets it run.</summary>
    public async Task PassAsync(TimeSpan timer)
    {
        while (await AgentTime.NextTimerAsync(Test.Deadline) != timer) { }
        Advance(timer);
    }

    /// <summary>Moves the clock from sleep to sleep, by its length or by a longer step, until a status satisfies.</summary>
    public async Task<IdentityStatus> UntilAsync(Func<IdentityStatus, bool> wanted, TimeSpan? step = null)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            if (Rotator.Status.Current is { } now && wanted(now)) { return now; }
            limit.Token.ThrowIfCancellationRequested();
            TimeSpan due = await NextSleepAsync();
            Advance(step > due ? step.Value : due);
        }
    }

    /// <summary>Moves both clocks.</summary>
    public void Advance(TimeSpan by)
    {
        AgentTime.Advance(by);
        if (!ReferenceEquals(Time, AgentTime)) { Time.Advance(by); }
    }

    public bool Logged(string text) => Log.Lines.Any(l => l.Contains(text, StringComparison.Ordinal));

    public int CountLogged(string text) => Log.Lines.Count(l => l.Contains(text, StringComparison.Ordinal));

    public async Task StopAsync()
    {
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await Rotator.StopAsync(hard.Token);
        Assert.True(Rotator.Completion.IsCompletedSuccessfully);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await Istiod.DisposeAsync();
        Folder.Dispose();
    }
}
