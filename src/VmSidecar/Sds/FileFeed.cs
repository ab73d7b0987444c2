using System.Security.Cryptography.X509Certificates;

using VmSidecar.Identity;
using VmSidecar.Lifecycle;

namespace VmSidecar.Sds;

/// <summary>
/// One <c>file-cert:</c> or <c>file-root:</c> resource: read, checked, watched. A set that does not hold up (key and chain replaced one after the
/// other, a half-written file) never replaces the last good one; the next change is looked at again. Shared by the streams that ask for it; owned by SecretFiles.
/// </summary>
internal sealed class FileFeed : ISecretFeed, IDisposable
{
    private readonly SecretFileName _name;
    private readonly SecretLog _log;
    private readonly SecretMeters _meters;
    private readonly FileChanges _changes;
    private readonly Published<SecretValue> _value = new();
    private volatile string _problem = "";

    public FileFeed(SecretFileName name, SecretLog log, SecretMeters meters, TimeProvider time)
    {
        (_name, _log, _meters) = (name, log, meters);
        foreach (string file in name.Files) { log.Watching(file); }
        _changes = new FileChanges(name.Files, time, NoteUnwatched); // before the first reading, so that no change falls between
        Read();
    }

    public string Problem => _problem;

    public (SecretValue? Value, Task Changed) Watch() => _value.Watch();

    /// <summary>Follows the files until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (true)
        {
            await _changes.ChangedAsync(stop);
            _log.FileChanged(_name.Files[0]);
            Read();
        }
    }

    public void Dispose() => _changes.Dispose();

    private void NoteUnwatched(string folder, string problem)
    {
        _log.CannotWatch(folder, problem);
        _meters.WatcherFailures.Add();
    }

    private void Read()
    {
        SecretValue? read = _name.Root is { } root ? ReadRoots(root) : ReadPair(_name.Chain!, _name.Key!);
        if (read is null)
        {
            _log.FileFailed(_name.Name, _problem);
            _meters.FileFailures.Add();
            return;
        }
        _problem = "";
        if (read.SameContent(_value.Current)) { return; }
        _log.FileRead(_name.Name);
        _value.Set(read);
    }

    private SecretValue? ReadPair(string chain, string key)
    {
        using CertificatePair? pair = CertificatePair.Load(chain, key, out _, out string reason);
        if (pair is null) { _problem = reason; }
        return pair is null ? null : SecretValue.Certificate(pair.ChainPem, pair.KeyPem, pair.NotAfter);
    }

    private SecretValue? ReadRoots(string file)
    {
        string text;
        try { text = File.ReadAllText(file); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _problem = $"failed to parse root certs from file {file}: {e.Message}";
            return null;
        }
        X509Certificate2Collection roots = PemBundle.Read(text, out int broken);
        if (broken > 0) { _log.BrokenRoots(file, broken); }
        if (roots.Count > 0) { return SecretValue.Anchors(broken == 0 ? text : string.Concat(roots.Select(r => r.ExportCertificatePem() + "\n")), null); }
        _problem = $"failed to parse root certs from file {file}: no certificate in it";
        return null;
    }
}
