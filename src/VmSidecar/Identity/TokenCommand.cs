using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Identity;

/// <summary>
/// The <c>exec</c> credential source: a command that prints a JWT (a cloud's identity document, a Vault token, ...). Its output goes to the token
/// file, from which everything else reads, as the classic agent does with its platform credentials. Owned by CertificateRotator.
/// </summary>
internal sealed partial class TokenCommand(IdentityOptions options, ICommandRunner runner, TimeProvider time, ILogger log)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan Ahead = TimeSpan.FromMinutes(25);  // the classic agent's margin before the end of a token
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(30); // between two runs, whatever comes of them
    private DateTimeOffset? _ran;
    private string _problem = "";

    /// <summary>Runs the command when there is no token, when it ends soon, or when istiod has refused it.</summary>
    public async Task RefreshAsync(bool refused, CancellationToken stop)
    {
        if (options.TokenCommand.IsEmpty || options.TokenFile is not { } file || !IsDue(file, refused)) { return; }
        _ran = time.GetUtcNow();
        CommandResult result = await runner.RunAsync(options.TokenCommand[0], [.. options.TokenCommand.Skip(1)], "", stop);
        string token = result.Output.Trim();
        string problem = !result.Succeeded ? result.FirstErrorLine : TokenClaims.TryParse(token, out _) ? "" : "its output is no JWT";
        if (problem.Length == 0) { problem = await WriteAsync(file, token, stop); }
        if (problem != _problem && problem.Length > 0) { CannotFetch(log, options.TokenCommand[0], problem); }
        if (problem.Length == 0) { Fetched(log, options.TokenCommand[0]); }
        _problem = problem;
    }

    private static async Task<string> WriteAsync(string file, string token, CancellationToken stop)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            await AtomicFile.WriteAsync(file, Encoding.ASCII.GetBytes(token), OwnerOnly, stop);
            return "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return e.Message; }
    }

    private bool IsDue(string file, bool refused)
    {
        DateTimeOffset now = time.GetUtcNow();
        if (_ran is { } ran && now - ran < Between && now >= ran) { return false; }
        string token;
        try { token = File.ReadAllText(file).Trim(); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return true; }
        return refused || !TokenClaims.TryParse(token, out TokenClaims? claims) || claims.Expires is { } end && end - now < Ahead;
    }

    [LoggerMessage(1, LogLevel.Warning, "fetch platform credential: {Command}: {Problem}")]
    private static partial void CannotFetch(ILogger log, string command, string problem);

    [LoggerMessage(2, LogLevel.Information, "fetched a new token with {Command}")]
    private static partial void Fetched(ILogger log, string command);
}
