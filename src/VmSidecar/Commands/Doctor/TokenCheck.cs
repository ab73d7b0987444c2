using VmSidecar.Identity;

namespace VmSidecar.Commands.Doctor;

/// <summary>The token can convince istiod: there, readable, of the right audience and account, not expired. istiod never says which it was.</summary>
internal sealed class TokenCheck : IDoctorCheck
{
    public string Code => "TOK001";

    public string Title => "token";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.Options.Identity.TokenFile is not { } file) { return Task.FromResult(Finding.Skip("this host authenticates by certificate")); }
        if (context.HostFinding("token") is { } found) { return Task.FromResult(found); }
        string? token = context.Istiod!.Token.Read(out _);
        return Task.FromResult(token is not null && TokenClaims.TryParse(token, out TokenClaims? claims)
            ? Finding.Ok($"{claims.Subject}, for {string.Join(", ", claims.Audiences)}, until {claims.Expires:yyyy-MM-dd HH:mm} UTC")
            : Finding.Ok($"not needed: a certificate is at hand ({file} is absent)"));
    }
}
