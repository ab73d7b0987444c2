using System.Collections.Immutable;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Identity;

/// <summary>CREDENTIAL_FETCHER_TYPE=exec: a program that prints a JWT (a cloud's identity document, a Vault token, ...).</summary>
internal sealed class TokenProgram(ImmutableArray<string> command, ICommandRunner runner) : ITokenSource
{
    public string Name => command[0];

    public async Task<(string? Token, string Problem)> FetchAsync(CancellationToken stop)
    {
        CommandResult result = await runner.RunAsync(command[0], [.. command.Skip(1)], "", stop);
        if (!result.Succeeded) { return (null, result.FirstErrorLine); }
        string token = result.Output.Trim();
        return TokenClaims.TryParse(token, out _) ? (token, "") : (null, "its output is no JWT");
    }
}
