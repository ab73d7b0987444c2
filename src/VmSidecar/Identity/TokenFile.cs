using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;

namespace VmSidecar.Identity;

/// <summary>Reads the service-account token at every use: the mounted file, else its persistent copy (on a VM <c>/var/run</c> is gone after a reboot). Says once when it is missing and once when it is back.</summary>
internal sealed partial class TokenFile(IdentityOptions options, ILogger log)
{
    private const string MockToken = "test_token"; // CREDENTIAL_FETCHER_TYPE=Mock, as the classic agent has it
    private volatile bool _missing;

    /// <summary>The token without white space; null when there is none. Never logged.</summary>
    public string? Read() => Read(out _);

    /// <summary>The same, and the file it came from (or should have come from).</summary>
    public string? Read(out string? path)
    {
        path = options.TokenFile;
        if (options.TokenSource == TokenSourceKind.Mock) { return MockToken; }
        string? first = Try(options.TokenFile, out string problem);
        if (first is null && Try(options.PersistentTokenFile, out _) is { Length: > 0 } copy)
        {
            path = options.PersistentTokenFile;
            first = copy;
        }
        Tell(first is null && options.TokenFile is not null, problem);
        return string.IsNullOrEmpty(first) ? null : first;
    }

    private static string? Try(string? file, out string problem)
    {
        problem = "";
        if (file is null) { return null; }
        try { return File.ReadAllText(file).Trim(); }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException) { problem = $"open {file}: no such file or directory"; }
        catch (UnauthorizedAccessException) when (Directory.Exists(file)) { problem = $"read {file}: is a directory"; }
        catch (UnauthorizedAccessException) { problem = $"open {file}: permission denied"; }
        catch (IOException e) { problem = $"open {file}: {e.Message}"; }
        return null;
    }

    private void Tell(bool missing, string problem)
    {
        if (missing == _missing) { return; }
        _missing = missing;
        if (missing) { Missing(log, problem); }
        else { Back(log, options.TokenFile); }
    }

    [LoggerMessage(1, LogLevel.Warning, "failed to fetch token from file: {Problem}")]
    private static partial void Missing(ILogger log, string problem);

    [LoggerMessage(2, LogLevel.Information, "the token can be read again from {File}")]
    private static partial void Back(ILogger log, string? file);
}
