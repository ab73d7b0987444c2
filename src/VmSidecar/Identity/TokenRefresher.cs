using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Identity;

/// <summary>
/// Keeps the token file fresh from a source of the platform's, as the classic agent does with its platform credentials: everything else reads
/// the file. Says once when the source fails and when it works. Owned by CertificateRotator, used by its loop only.
/// </summary>
internal sealed partial class TokenRefresher(ITokenSource source, string file, TimeProvider time, ILogger log)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan Ahead = TimeSpan.FromMinutes(25);   // the classic agent's margin before the end of a token
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(30); // between two fetches, whatever comes of them
    private DateTimeOffset? _ran;
    private string _problem = "";

    /// <summary>The refresher of the configured source; null where the token file is somebody else's.</summary>
    public static TokenRefresher? For(IdentityOptions options, TimeProvider time, ILogger log)
    {
        ITokenSource? source = options.TokenSource switch
        {
            TokenSourceKind.Exec => new TokenProgram(options.TokenCommand, new CommandRunner(TimeSpan.FromSeconds(30), time)),
            TokenSourceKind.GoogleComputeEngine => new MetadataToken(options.MetadataHost, options.TrustDomain),
            _ => null,
        };
        return source is null || options.TokenFile is not { } file ? null : new TokenRefresher(source, file, time, log);
    }

    /// <summary>Fetches when there is no token, when it ends soon, or when istiod has refused it.</summary>
    public async Task RefreshAsync(bool refused, CancellationToken stop)
    {
        if (!IsDue(refused)) { return; }
        _ran = time.GetUtcNow();
        (string? token, string problem) = await source.FetchAsync(stop);
        if (token is not null) { problem = await WriteAsync(token, stop); }
        if (problem.Length == 0) { Fetched(log, source.Name); }
        else if (problem != _problem) { CannotFetch(log, source.Name, problem); }
        _problem = problem;
    }

    private async Task<string> WriteAsync(string token, CancellationToken stop)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            await AtomicFile.WriteAsync(file, Encoding.ASCII.GetBytes(token), OwnerOnly, stop);
            return "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return e.Message; }
    }

    private bool IsDue(bool refused)
    {
        DateTimeOffset now = time.GetUtcNow();
        if (_ran is { } ran && now - ran < Between && now >= ran) { return false; }
        string token;
        try { token = File.ReadAllText(file).Trim(); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return true; }
        return refused || !TokenClaims.TryParse(token, out TokenClaims? claims) || claims.Expires is { } end && end - now < Ahead;
    }

    [LoggerMessage(1, LogLevel.Warning, "fetch platform credential: {Source}: {Problem}")]
    private static partial void CannotFetch(ILogger log, string source, string problem);

    [LoggerMessage(2, LogLevel.Information, "fetched a new token from {Source}")]
    private static partial void Fetched(ILogger log, string source);
}
