using System.Security.Cryptography;

using VmSidecar.Identity;
using VmSidecar.Lifecycle;

namespace VmSidecar.Sds;

/// <summary>The revocation list named beside trust anchors at one moment.</summary>
/// <param name="File">Its path; null: there is none.</param>
/// <param name="Stamp">Tells contents apart; empty: there is none.</param>
internal sealed record CrlState(string? File, string Stamp)
{
    /// <summary>No list.</summary>
    public static CrlState None { get; } = new(null, "");
}

/// <summary>
/// Follows the CRL file (<c>ca-crl.pem</c>). Envoy reads it when a secret names it and not again, so a list that comes, changes or goes is a push of
/// every set of anchors. Owned by SdsServer.
/// </summary>
internal sealed class CrlWatch(string? file, TimeProvider time) : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Published<CrlState> _state = new();
    private Task _run = Task.CompletedTask;

    /// <summary>The list of now.</summary>
    public CrlState Current => _state.Current ?? CrlState.None;

    /// <summary>Ends when the list is another.</summary>
    public Task Changed() => _state.Watch().Changed;

    /// <summary>Begins to follow.</summary>
    public void Start()
    {
        if (file is not null) { _run = RunAsync(file, _stop.Token); }
    }

    /// <summary>Ends it.</summary>
    public async Task EndAsync()
    {
        await _stop.CancelAsync();
        try { await _run; }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested) { }
    }

    public void Dispose() => _stop.Dispose();

    private async Task RunAsync(string path, CancellationToken stop)
    {
        using var changes = new FileChanges([path], time);
        while (true) // ends by cancellation only
        {
            CrlState now = Read(path);
            if (now != Current) { _state.Set(now); }
            await changes.ChangedAsync(stop);
        }
    }

    private static CrlState Read(string path)
    {
        try { return new CrlState(path, Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(path)))); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return CrlState.None; }
    }
}
