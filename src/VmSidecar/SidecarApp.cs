using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Envoy;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Linux.Processes;
using VmSidecar.Linux.Sockets;
using VmSidecar.Metrics;
using VmSidecar.Sds;
using VmSidecar.Status;
using VmSidecar.Xds;

namespace VmSidecar;

/// <summary>What the process around the app provides. Made by RunCommand, or by a test.</summary>
/// <param name="Time">The clock.</param>
/// <param name="Logs">Loggers by scope.</param>
/// <param name="EnvoyLines">Where Envoy's output goes.</param>
/// <param name="Systemd">Told when the service is ready and how it is.</param>
/// <param name="SearchPath">PATH, for exec probes.</param>
/// <param name="ProcessStart">When the process began, for the start-up gauge.</param>
internal sealed record SidecarHost(
    TimeProvider Time, ILoggerFactory Logs, EnvoyLineSink EnvoyLines, SystemdNotify Systemd, string SearchPath, DateTimeOffset ProcessStart)
{
    /// <summary>Makes the component that programs the host's capture rules, given what ends when the agent serves; null: somebody else does (the unit).</summary>
    public Func<Func<CancellationToken, Task>, IComponent>? Capture { get; init; }

    /// <summary>How this process was started, for its replacement in place; null: it cannot be replaced.</summary>
    public AgentProgram? Program { get; init; }

    /// <summary>What the agent before this one in the process has left; null: nothing.</summary>
    public AgentEstate? Estate { get; init; }

    /// <summary>Awaited once DNS is open: what the rest must wait for (an address of this host). Gives the settings as they are then. Null: nothing.</summary>
    public Func<CancellationToken, Task<SidecarOptions>>? Settled { get; init; }
}

/// <summary>Builds, starts and stops every component. Nothing else does. Single use.</summary>
internal sealed class SidecarApp(SidecarOptions options, SidecarHost host) : IDisposable
{
    private SidecarOptions _options = options; // read again once, when the network came after us; changed once more by who issues the certificate
    private readonly CancellationTokenSource _quit = new();
    private readonly ListeningSockets _sockets = new(host.Estate?.Sockets);
    private readonly TaskCompletionSource<Replacement> _replacement = new(TaskCreationOptions.RunContinuationsAsynchronously); // once everything runs
    private ComponentStack? _stack;
    private bool _tookOver; // Envoy is the stack's
    private Func<AgentEstate>? _leaveBehind;
    private IReadOnlyDictionary<string, SafeFileHandle> _kept = new Dictionary<string, SafeFileHandle>(); // closed with the process, or handed on

    /// <summary>Set when the components have left instead of being stopped: what the next agent in this process goes on with.</summary>
    public AgentEstate? LeftBehind { get; private set; }

    public void Dispose()
    {
        _sockets.Dispose();
        _quit.Dispose();
    }

    /// <summary>Asks for the replacement of this agent in place; during the start, once that is done.</summary>
    public async Task ReplaceAsync(CancellationToken stop) => await (await _replacement.Task.WaitAsync(stop)).TryAsync(stop);

    /// <summary>A second stop request: cut the drain short.</summary>
    public void Hurry() => _stack?.Hurry();

    /// <summary>Runs until <paramref name="stopRequested"/> or until a component ends; returns the exit code.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "a bug at start must stop what already runs, be logged and give exit code 70")]
    public async Task<ExitCode> RunAsync(CancellationToken stopRequested)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(stopRequested, _quit.Token);
        await using var stack = new ComponentStack(_options.ShutdownBudget, host.Time, host.Logs.CreateLogger("app"));
        _stack = stack;
        try
        {
            await StartAllAsync(stack, stop);
        }
        catch (Exception e)
        {
            if (e is OperationCanceledException && stop.IsCancellationRequested) { return ExitCode.Stopped; }
            ExitCode failed = stack.Explain(e is FatalException fatal ? fatal.Component : "start", e);
            await TakeOverAsync(stack);
            return failed;
        }
        ExitCode code = await stack.WaitForEndAsync(stop.Token);
        if (stack.HasLeft) { LeftBehind = _leaveBehind?.Invoke(); }
        return code;
    }

    /// <summary>Start order is reading order; stop order is its exact reverse.</summary>
    private async Task StartAllAsync(ComponentStack stack, CancellationTokenSource stop)
    {
        var metrics = new MetricRegistry();
        ProcessMetrics.Register(metrics);
        var use = new Instruments(host.Time, host.Logs, metrics);
        var secrets = new Published<WorkloadSecrets>(); // written by identity; read by sds, xds
        var trust = new TrustBundle();                  // written by xds; read by identity
        // An Envoy that the agent before has left is taken over even where a stop has come meanwhile: a start that gives up ends it without its drain.
        CancellationToken startup = host.Estate?.Envoy is null ? stop.Token : CancellationToken.None;

        DnsServer? dns = _options.Dns.Enabled ? new DnsServer(_options.Dns, metrics, host.Time, host.Logs.CreateLogger("dns")) { Sockets = _sockets } : null;
        if (dns is not null) { await stack.StartAsync(dns, startup); }                                   // names resolve before anything can fail, or wait
        await SettleAsync(stop.Token);
        SidecarOptions read = _options;
        _options = await new ExternalSds(_options, host.Time, host.Logs.CreateLogger("default")) { Sockets = _sockets }.ApplyAsync(startup);

        var istiod = new IstiodAccess(_options.Identity, _options.Xds, host.Time, host.Logs);
        var rotator = new CertificateRotator(_options.Identity, istiod, secrets, trust, use) { Estate = host.Estate?.Secrets };
        XdsProxy? xds = null;
        var admin = new EnvoyAdmin(_options.Envoy, host.Time);
        var renderer = new EnvoyRenderer(_options.Envoy, async (atMost, cancel) => xds is null || (await xds.ModeAsync(atMost, cancel)).Delta, new CommandRunner(TimeSpan.FromSeconds(5), host.Time));
        EnvoySupervisor envoy = Envoy(renderer, admin, metrics);
        HealthChecker? health = Health(_options.Envoy.Enabled ? new EnvoyReadiness(admin, envoy.State) : null, stop.Token);
        var links = new XdsLinks(istiod, health?.State ?? new(), dns?.Names, _options.Xds.SubscribeTrust ? trust : null)
        {
            Sockets = _sockets, Secrets = secrets, Clusters = dns?.Clusters, VipServices = _options.Dns.VipTcp && dns is not null ? dns.VirtualIps.Services : null, WrongProtocol = () => envoy.StartAnew("istiod does not speak the delta protocol"),
        };
        xds = new XdsProxy(_options.Xds, links, metrics, host.Time, host.Logs);
        var readiness = new ReadinessProbe(_options.Envoy.Enabled ? new EnvoyReadiness(admin, envoy.State) : null, Conditions(dns, stop.Token), host.Time);
        var snapshot = new AgentSnapshot(host.ProcessStart, xds, rotator, envoy, dns, host.Program?.Version ?? "");

        var trouble = new TroubleCodes(xds, rotator, envoy, dns, host.Time);
        trouble.Register(metrics);
        StatusServer status = Status(readiness, metrics, envoy, snapshot, dns);
        await stack.StartAsync(status, startup);                                                         // probes answer first, last
        await stack.StartAsync(rotator, startup);                                                        // begins to ask; waits for nobody
        await stack.StartAsync(new SdsServer(_options.Sds, secrets, rotator.Status, use, _sockets), startup);       // Envoy's first question
        await stack.StartAsync(xds, startup);                                                            // Envoy's second question
        if (health is not null) { await stack.StartAsync(health, startup); }
        if (_options.Envoy.Enabled) { await StartEnvoyAsync(stack, envoy, startup); }                     // needs all of the above
        var watch = new ReadinessWatch(readiness, metrics, host.ProcessStart, host.Time, host.Logs.CreateLogger("default"));
        await stack.StartAsync(watch, startup);
        if (host.Capture is { } capture) { await stack.StartAsync(capture(cancel => ReadyAsync(watch.State, cancel)), startup); } // rules go on last and come off first
        var pulse = new OwnPulse(() => status.Port, () => dns is null ? null : _options.Dns.Listen[0], host.Time);
        await stack.StartAsync(new SystemdWatchdog(host.Systemd, pulse.CheckAsync, host.Time, host.Logs.CreateLogger("default")), startup);
        await stack.StartAsync(new SystemdReporter(host.Systemd, watch.State, trouble.Line, _options.ShutdownBudget, host.Time) { DetailChanged = () => rotator.Status.Watch().Changed }, startup);
        _sockets.Dispose(); // what the agent before had and this one does not use
        snapshot.Replacement = Replacement(read, envoy, secrets);
        _replacement.SetResult(snapshot.Replacement);
    }

    /// <summary>A start that has failed takes over the Envoy that was left, so that it is drained and ended with the components that run, instead of dying with the process.</summary>
    private async Task TakeOverAsync(ComponentStack stack)
    {
        if (host.Estate?.Envoy is null || _tookOver || !_options.Envoy.Enabled) { return; }
        var renderer = new EnvoyRenderer(_options.Envoy, (_, _) => Task.FromResult(false), new CommandRunner(TimeSpan.FromSeconds(5), host.Time));
        await StartEnvoyAsync(stack, Envoy(renderer, new EnvoyAdmin(_options.Envoy, host.Time), new MetricRegistry()), CancellationToken.None);
    }

    private Task StartEnvoyAsync(ComponentStack stack, EnvoySupervisor envoy, CancellationToken startup)
    {
        _tookOver = true;
        return stack.StartAsync(envoy, startup);
    }

    private EnvoySupervisor Envoy(EnvoyRenderer renderer, EnvoyAdmin admin, MetricRegistry metrics) => new(
        _options.Envoy, new EnvoyParts(renderer, admin, host.EnvoyLines, metrics) { Owner = host.Program?.Owner, Estate = host.Estate?.Envoy }, host.Time, host.Logs.CreateLogger("default"));

    /// <summary>Waits no longer than until a stop, which ends the start unless there is an Envoy to take over.</summary>
    private async Task SettleAsync(CancellationToken stop)
    {
        if (host.Settled is not { } settled) { return; }
        try { _options = await settled(stop); }
        catch (OperationCanceledException) when (stop.IsCancellationRequested && host.Estate?.Envoy is not null) { }
    }

    private Replacement Replacement(SidecarOptions read, EnvoySupervisor envoy, Published<WorkloadSecrets> secrets)
    {
        int count = host.Estate?.Count ?? 0;
        string? Objection() => host.Capture is not null ? "with --capture the rules would come off in between" : _options.Envoy.Enabled ? envoy.CannotLeave() : null;
        var commands = new CommandRunner(TimeSpan.FromSeconds(60), host.Time) { Environment = ChildEnvironment.With([]) };
        return new Replacement(read, host.Program, count, Objection, Leave, commands, host.Logs.CreateLogger("default"));

        void Leave()
        {
            if (_leaveBehind is not null) { return; } // the copies are closed by nobody else
            _kept = _sockets.Duplicate();
            _leaveBehind = () => new AgentEstate(host.Program!.Version, count + 1, _kept.ToDictionary(s => s.Key, s => (int)s.Value.DangerousGetHandle(), StringComparer.Ordinal), envoy.Left, secrets.Current);
            _stack!.Leave();
        }
    }

    private static async Task ReadyAsync(Published<ReadinessState> state, CancellationToken stop)
    {
        for ((ReadinessState? now, Task changed) = state.Watch(); now is not { IsReady: true }; (now, changed) = state.Watch()) { await changed.WaitAsync(stop); }
    }

    private HealthChecker? Health(EnvoyReadiness? envoy, CancellationToken stop) =>
        _options.Probe is { } probe && Probers.For(probe, _options.Envoy.Localhost == "::1", host.SearchPath, host.Time) is { } prober
            ? new HealthChecker(probe, prober, envoy, host.Time, host.Logs.CreateLogger("healthcheck"))
            {
                StopRequested = stop, TakesOver = host.Estate?.Envoy is not null, Marker = new HealthMarker(_options.Xds.StateDirectory, host.Logs.CreateLogger("healthcheck")),
            }
            : null;

    private ReadinessConditions Conditions(DnsServer? dns, CancellationToken stop) => new(
        () => stop.IsCancellationRequested ? "terminated" : null,
        ReadinessConditions.CertificateFiles(_options.Identity.OutputDirectory),
        () => _options.Status.DnsRequired && dns is { Names.Received.Current: null } ? ReadinessConditions.NoNames : null);

    private StatusServer Status(ReadinessProbe readiness, MetricRegistry metrics, EnvoySupervisor envoy, AgentSnapshot snapshot, DnsServer? dns)
    {
        ILogger log = host.Logs.CreateLogger("default");
        if (!ScrapeTargets.TryParse(_options.Status.PrometheusAnnotations, _options.Status.Port, out IReadOnlyList<ScrapeTarget> targets, out string problem))
        {
            throw new FatalException("status", problem, "Correct ISTIO_PROMETHEUS_ANNOTATIONS");
        }
        var page = new MetricsPage(new MetricsSources(_options.Envoy.Enabled ? _options.Status.EnvoyPrometheusPort : 0, targets), metrics, new Scraper(), host.Time, log);
        var hooks = new StatusHooks
        {
            Names = snapshot.Names,
            Name = (name, type, cancel) => dns?.Report.ForAsync(name, type, cancel) ?? Task.FromResult<System.Text.Json.Nodes.JsonObject?>(null),
            Snapshot = snapshot.Take,
            Sync = () => snapshot.Relay.Sync(),
            Config = () => snapshot.Relay.Config(),
            Resource = (type, name) => snapshot.Relay.Resource(type, name),
            Drain = envoy.Drain.DrainOnlyAsync,
            Quit = () => { envoy.Drain.SkipDrain(); _quit.Cancel(); },
        };
        return new StatusServer(_options.Status, new StatusRoutes(readiness, page, hooks, _options.Status.MetricsLocalhostOnly), log) { Sockets = _sockets };
    }
}
