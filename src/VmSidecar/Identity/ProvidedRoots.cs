using System.Security.Cryptography;
using System.Text;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;

namespace VmSidecar.Identity;

/// <summary>
/// Keeps the roots an operator provided in a file that OUTPUT_CERTS overwrites (on a VM both are /etc/certs/root-cert.pem). Where istiod's
/// serving certificate has another root than workloads have, the first issue would otherwise break the next connection. A new file of the
/// operator's replaces what was kept, so a root can still be withdrawn. Used by IstiodAccess (reader) and OutputCertificates (writer).
/// </summary>
internal sealed class ProvidedRoots(IdentityOptions options)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly Lock _gate = new();
    private string? _kept;
    private string? _ownHash;
    private bool _loaded;

    private string? Overwritten => options.OutputDirectory is { } folder ? Path.Combine(folder, "root-cert.pem") : null;

    private string? KeptFile => options.StateDirectory is { } folder ? Path.Combine(folder, "provided-roots.pem") : null;

    private string? HashFile => options.StateDirectory is { } folder ? Path.Combine(folder, "written-roots.sha256") : null;

    /// <summary>What to trust beside the content of <paramref name="rootFile"/>: nothing, unless that file is the one we overwrite.</summary>
    public IReadOnlyList<string> For(string? rootFile)
    {
        if (rootFile is null || Overwritten is null || Path.GetFullPath(rootFile) != Path.GetFullPath(Overwritten)) { return []; }
        lock (_gate)
        {
            Load();
            return _kept is null || _ownHash != HashOf(TryRead(rootFile)) ? [] : [_kept];
        }
    }

    /// <summary>Called before root-cert.pem is written: content that is not ours is the operator's and is kept.</summary>
    public async Task BeforeWriteAsync(string content, CancellationToken stop)
    {
        if (Overwritten is null) { return; }
        string? present = TryRead(Overwritten);
        string? keep = null;
        string hash = HashOf(content)!;
        lock (_gate)
        {
            Load();
            if (present is not null && HashOf(present) != _ownHash && HashOf(present) != hash) { keep = _kept = present; }
            _ownHash = hash;
        }
        if (KeptFile is null) { return; }
        Directory.CreateDirectory(options.StateDirectory!, OwnerOnly | UnixFileMode.UserExecute);
        if (keep is not null) { await AtomicFile.WriteAsync(KeptFile, Encoding.ASCII.GetBytes(keep), OwnerOnly, stop); }
        await AtomicFile.WriteAsync(HashFile!, Encoding.ASCII.GetBytes(hash), OwnerOnly, stop);
    }

    private void Load()
    {
        if (_loaded) { return; }
        _loaded = true;
        _kept = TryRead(KeptFile);
        _ownHash = TryRead(HashFile)?.Trim();
    }

    private static string? TryRead(string? file)
    {
        if (file is null) { return null; }
        try { return File.ReadAllText(file); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return null; }
    }

    private static string? HashOf(string? text) => text is null ? null : Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
