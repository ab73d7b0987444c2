using System.Security.Cryptography.X509Certificates;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Logging;
using VmSidecar.Metrics;

namespace VmSidecar.Identity;

/// <summary>
/// Keeps this VM's certificate fresh, whether or not anybody asks for it. Stages: key → sign request → CA call → check → publish → write → wait.
/// The certificate in use stays until a new one is checked. The only writer of the published secrets and status. Owned by SidecarApp;
/// its start does not wait for istiod, because sockets and DNS must be up without it.
/// </summary>
internal sealed class CertificateRotator : IComponent, IDisposable
{
    private readonly IdentityOptions _options;
    private readonly IstiodAccess _istiod;
    private readonly Published<WorkloadSecrets> _secrets;
    private readonly TrustBundle _trust;
    private readonly TimeProvider _time;
    private readonly CaClient _ca;
    private readonly OutputCertificates _files;
    private readonly RotationAlarm _alarm;
    private readonly IdentityLog _log;
    private readonly RotationSchedule _schedule;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _run = Task.CompletedTask;
    private readonly TokenRefresher? _tokenSource;
    private readonly MountedCertificates? _mounted;
    private string _caRoots = "";     // came with the certificate
    private string _rootsBefore = ""; // of an earlier agent, istiod's extra anchors of then among them; until istiod's first word, or a new certificate

    public CertificateRotator(IdentityOptions options, IstiodAccess istiod, Published<WorkloadSecrets> secrets, TrustBundle trust, Instruments use)
    {
        _options = options;
        _istiod = istiod;
        _secrets = secrets;
        _trust = trust;
        _time = use.Time;
        _ca = new CaClient(options, istiod, use.Time, use.Logs.CreateLogger("ca"), use.Metrics);
        _files = new OutputCertificates(options, istiod.Provided, use.Logs.CreateLogger("cache"));
        _log = new IdentityLog(use.Logs);
        _alarm = new RotationAlarm(options, istiod, _log, use.Time, Status);
        _schedule = new RotationSchedule(options, use.Time);
        _tokenSource = TokenRefresher.For(options, use.Time, use.Logs.CreateLogger("default"));
        _mounted = options.Mounted is { } files ? new MountedCertificates(files, secrets, _files, Status, use.Time, use.Logs.CreateLogger("cache")) : null;
        _alarm.Meters = new IdentityMeters(use, secrets, Status);
    }

    /// <summary>How the identity stands; set after every operation, after its files are written.</summary>
    public Published<IdentityStatus> Status { get; } = new();

    public string Name => "identity";

    /// <summary>What the agent before this one in the process had; null: nothing.</summary>
    public WorkloadSecrets? Estate { get; init; }

    public Task Completion => _completion.Task;

    public Task StartAsync(CancellationToken startup)
    {
        _log.JwtPolicy(_options.JwtPolicy);
        if (_options.TokenSource != TokenSourceKind.File) { _log.Fetcher(_options.TokenSource.ToString(), _options.TrustDomain); }
        if (_mounted is not null) { _log.FilesOnly(); }
        else if (!_options.IsExternal)
        {
            _log.CaEndpoint(_options.CaAddress);
            _log.UsingCa(_options.CaAddress, _options.CaRootFile);
            _istiod.News.Hold();
        }
        _run = RunToEndAsync(_stop.Token);
        return Task.CompletedTask;
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await _stop.CancelAsync();
        await _run;
        _completion.TrySetResult(); // never started
    }

    public void Dispose() => _stop.Dispose();

    private async Task RunToEndAsync(CancellationToken stop)
    {
        await Task.Yield(); // generating a key takes tens of milliseconds: not on the thread that starts the agent
        try
        {
            using var token = new FileChanges([_options.TokenFile, _options.PersistentTokenFile], _time);
            await (_options.IsExternal ? WatchTokenAsync(token, stop) : _mounted is null ? RunAsync(token, stop) : RunMountedAsync(token, stop));
            _completion.TrySetResult();
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { _completion.TrySetResult(); }
        catch (Exception e) { _completion.TrySetException(e); } // a bug: ComponentStack says so and ends the process
    }

    /// <summary>Somebody else issues, into files. The token, which still opens streams, is kept fresh beside it.</summary>
    private async Task RunMountedAsync(FileChanges token, CancellationToken stop)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task files = _mounted!.RunAsync(_trust, (own, anchors) => PemBundle.Merge([own, anchors ?? "", .. _options.ExtraRoots]), both.Token);
        Task watch = _tokenSource is null ? files : WatchTokenAsync(token, both.Token);
        await await Task.WhenAny(files, watch); // neither ends but by cancellation or a fault
    }

    /// <summary>No certificate is asked for; the token is kept fresh where the agent fetches it, and how it stands is told.</summary>
    private async Task WatchTokenAsync(FileChanges token, CancellationToken stop)
    {
        while (true) // ends by cancellation only
        {
            if (_tokenSource is not null) { await _tokenSource.RefreshAsync(refused: false, stop); }
            if (_options.IsExternal) { _alarm.LookAtToken(); }
            using var nap = CancellationTokenSource.CreateLinkedTokenSource(stop);
            Task changed = token.ChangedAsync(nap.Token);
            await SleepAsync(RotationPolicy.LongestSleep, changed, changed, stop);
            await nap.CancelAsync();
            await changed.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task RunAsync(FileChanges token, CancellationToken stop)
    {
        await LoadAsync(stop);
        Task tokenChanged = token.ChangedAsync(stop);
        while (true) // ends by cancellation only
        {
            if (_tokenSource is not null) { await _tokenSource.RefreshAsync(_alarm.IsUnauthenticated, stop); }
            (string? anchors, Task trustChanged) = _trust.Anchors.Watch();
            await MergeRootsAsync(anchors);
            _alarm.Look(_secrets.Current, _schedule.Failures, _schedule.RenewAt);
            TimeSpan due = _schedule.Due(_secrets.Current);
            if (due <= TimeSpan.Zero)
            {
                await IssueAsync(stop);
                continue;
            }
            await SleepAsync(due, trustChanged, tokenChanged, stop);
            if (tokenChanged.IsCompleted)
            {
                await tokenChanged;
                tokenChanged = token.ChangedAsync(stop);
                _schedule.RetryNow(); // no effect while nothing has failed
            }
        }
    }

    private async Task SleepAsync(TimeSpan due, Task trustChanged, Task tokenChanged, CancellationToken stop)
    {
        using var sleep = CancellationTokenSource.CreateLinkedTokenSource(stop);
        // Rounded up: Task.Delay cuts to whole milliseconds, and a rest below one would spin.
        TimeSpan nap = TimeSpan.FromMilliseconds(Math.Ceiling(Math.Min(due.TotalMilliseconds, RotationPolicy.LongestSleep.TotalMilliseconds)));
        Task timer = Task.Delay(nap, _time, sleep.Token);
        await Task.WhenAny(timer, trustChanged, tokenChanged);
        await sleep.CancelAsync();
        await timer.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        stop.ThrowIfCancellationRequested();
    }

    private async Task LoadAsync(CancellationToken stop)
    {
        bool inherited = IsMine(Estate);
        (WorkloadSecrets? found, string reason) = inherited ? (Estate, "") : await _files.LoadAsync(_time.GetUtcNow(), stop);
        if (found is null)
        {
            if (reason.Length > 0) { _log.NotLoaded(_options.OutputDirectory!, reason); }
            return;
        }
        _caRoots = PemBundle.Common(found.RootsPem, found.ChainPem);
        _rootsBefore = found.RootsPem;
        if (_caRoots.Length == 0) { _caRoots = found.RootsPem; } // a chain without its root: which one that is cannot be told
        _schedule.Issued(found);
        _secrets.Set(found with { RootsPem = Merged(_trust.Anchors.Current) });
        if (!inherited) { _log.Loaded(_options.OutputDirectory!, GoDuration.Format(found.NotAfter - _time.GetUtcNow())); }
        _alarm.Succeeded(found, 0, _schedule.RenewAt);
    }

    /// <summary>Still good, and for the name that the settings give now.</summary>
    private bool IsMine(WorkloadSecrets? held)
    {
        if (held is null || held.NotAfter <= _time.GetUtcNow() || CertificatePair.Parse(held.ChainPem, held.KeyPem, out _, out _) is not { } pair) { return false; }
        using (pair) { return SpiffeName.Of(pair.Leaf) is { } name && SpiffeName.SameWorkload(name, _options.SpiffeId); }
    }

    private async Task IssueAsync(CancellationToken stop)
    {
        long begin = _time.GetTimestamp();
        using KeyPair key = KeyPair.Generate(_options.Algorithm, _options.RsaBits);
        CaResult result = await _ca.SignAsync(key.ToCsrPem(_options.SpiffeId), quiet: _schedule.Failures > 0, stop);
        CaFailure? failure = result.Failure;
        if (failure is null && ChainCheck.Refuse(result.Chain, key.Matches, _options, _time.GetUtcNow()) is { } problem) { failure = CaFailure.BadAnswer(problem); }
        if (failure is not null)
        {
            _schedule.Failed();
            _alarm.Failed(failure, _secrets.Current, _schedule.Failures);
            return;
        }
        WorkloadSecrets fresh = Secrets(result, key);
        _log.Generated(GoDuration.Format(_time.GetElapsedTime(begin)), GoDuration.Format(fresh.NotAfter - _time.GetUtcNow()));
        if (fresh.RootsPem != _secrets.Current?.RootsPem) { _log.RootChanged(); }
        int failures = _schedule.Failures;
        _schedule.Issued(fresh);
        _secrets.Set(fresh);
        await _files.WriteAsync(fresh, CancellationToken.None); // a set begun is finished, also at the stop
        _alarm.CheckClock(fresh, result);
        _alarm.Succeeded(fresh, failures, _schedule.RenewAt);
    }

    private WorkloadSecrets Secrets(CaResult result, KeyPair key)
    {
        using X509Certificate2 leaf = X509Certificate2.CreateFromPem(result.Chain[0]);
        (_caRoots, _rootsBefore) = (result.Chain[^1], "");
        return new WorkloadSecrets(
            PemBundle.Concatenate(result.Chain), key.ToPem(_options.Pkcs8), Merged(_trust.Anchors.Current),
            leaf.NotBefore.ToUniversalTime(), leaf.NotAfter.ToUniversalTime(), _time.GetUtcNow(), leaf.SerialNumber);
    }

    /// <summary>New anchors reach peers at once, without a new leaf.</summary>
    private async Task MergeRootsAsync(string? anchors)
    {
        if (_secrets.Current is not { } held) { return; }
        string merged = Merged(anchors);
        if (merged == held.RootsPem) { return; }
        _log.RootChanged();
        WorkloadSecrets changed = held with { RootsPem = merged };
        _secrets.Set(changed);
        await _files.WriteAsync(changed, CancellationToken.None);
    }

    private string Merged(string? anchors) => PemBundle.Merge([_caRoots, anchors ?? _rootsBefore, .. _options.ExtraRoots]);
}
