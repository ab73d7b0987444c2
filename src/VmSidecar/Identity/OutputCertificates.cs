using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;

namespace VmSidecar.Identity;

/// <summary>
/// The files in OUTPUT_CERTS: <c>key.pem</c>, <c>cert-chain.pem</c>, <c>root-cert.pem</c>. Each is replaced as one step; the three are not, so
/// the matching pair is first written as one hidden file, from which a start after a crash puts the set right. Owned by CertificateRotator.
/// </summary>
internal sealed partial class OutputCertificates(IdentityOptions options, ProvidedRoots provided, ILogger log)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode Everyone = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    private bool _failing;

    private UnixFileMode Mode => options.OutputWorldReadable ? Everyone : OwnerOnly;

    /// <summary>Writes what differs from the disk. A failure is logged once and costs nothing but the files.</summary>
    public async Task WriteAsync(WorkloadSecrets secrets, CancellationToken stop)
    {
        if (options.OutputDirectory is not { } folder) { return; }
        try
        {
            await WriteIfChangedAsync(At(folder, ".pair.pem"), secrets.KeyPem + secrets.ChainPem, OwnerOnly, stop);
            await WriteIfChangedAsync(At(folder, "key.pem"), secrets.KeyPem, Mode, stop);
            await WriteIfChangedAsync(At(folder, "cert-chain.pem"), secrets.ChainPem, Mode, stop);
            await provided.BeforeWriteAsync(secrets.RootsPem, stop);
            await WriteIfChangedAsync(At(folder, "root-cert.pem"), secrets.RootsPem, Mode, stop);
            _failing = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (!_failing) { CannotWrite(log, e.Message, folder); }
            _failing = true;
        }
    }

    /// <summary>
    /// What an earlier run left, if it can still be used: key and certificate match, the name is this VM's, it has not ended, and it leads to
    /// root-cert.pem. A mismatched pair is put right from the hidden copy first. Null and the reason otherwise (empty: there is nothing).
    /// </summary>
    public async Task<(WorkloadSecrets? Secrets, string Reason)> LoadAsync(DateTimeOffset now, CancellationToken stop)
    {
        if (options.OutputDirectory is not { } folder) { return (null, ""); }
        CertificatePair? pair = CertificatePair.Load(At(folder, "cert-chain.pem"), At(folder, "key.pem"), out PairProblem problem, out string reason);
        // Both gone is an operator's doing, to make the agent start over with the token.
        bool emptied = !File.Exists(At(folder, "cert-chain.pem")) && !File.Exists(At(folder, "key.pem"));
        if (pair is null && !emptied) { pair = await RepairAsync(folder, stop); }
        if (pair is null) { return (null, problem == PairProblem.Missing ? "" : reason); }
        using (pair)
        {
            if (SpiffeName.Of(pair.Leaf) is not { } name || !SpiffeName.SameWorkload(name, options.SpiffeId)) { return (null, "it is for another identity"); }
            if (pair.NotAfter <= now) { return (null, $"it has expired at {pair.NotAfter.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}"); }
            string roots;
            try { roots = File.ReadAllText(At(folder, "root-cert.pem")); }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return (null, e.Message); }
            if (!ChainCheck.LeadsToRoot(pair.Leaf, pair.Chain, PemBundle.Read(roots, out _), now)) { return (null, "it does not lead to root-cert.pem"); }
            return (new WorkloadSecrets(pair.ChainPem, pair.KeyPem, PemBundle.Merge(roots), pair.NotBefore, pair.NotAfter, pair.NotBefore, pair.Leaf.SerialNumber), "");
        }
    }

    private async Task<CertificatePair?> RepairAsync(string folder, CancellationToken stop)
    {
        string both;
        try { both = await File.ReadAllTextAsync(At(folder, ".pair.pem"), stop); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return null; }
        int split = both.IndexOf("-----BEGIN CERTIFICATE-----", StringComparison.Ordinal);
        if (split < 0 || CertificatePair.Parse(both[split..], both[..split], out _, out _) is not { } pair) { return null; }
        try
        {
            await WriteIfChangedAsync(At(folder, "key.pem"), pair.KeyPem, Mode, stop);
            await WriteIfChangedAsync(At(folder, "cert-chain.pem"), pair.ChainPem, Mode, stop);
            Repaired(log, folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { CannotWrite(log, e.Message, folder); }
        return pair;
    }

    private static async Task WriteIfChangedAsync(string file, string content, UnixFileMode mode, CancellationToken stop)
    {
        if (File.Exists(file) && File.GetUnixFileMode(file) == mode && await File.ReadAllTextAsync(file, stop) == content) { return; }
        await AtomicFile.WriteAsync(file, Encoding.UTF8.GetBytes(content), mode, stop);
    }

    private static string At(string folder, string name) => Path.Combine(folder, name);

    [LoggerMessage(1, LogLevel.Error, "error when output the resource: {Problem}. Create {Folder} and give it to the user of the agent")]
    private static partial void CannotWrite(ILogger log, string problem, string folder);

    [LoggerMessage(2, LogLevel.Warning, "key.pem and cert-chain.pem in {Folder} did not belong together (a crash while writing); both are put right")]
    private static partial void Repaired(ILogger log, string folder);
}
