using VmSidecar.Grpc;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>
/// Decides who calls, in istiod's order: 1. the client certificate, which TLS has already verified; 2. a token review of the
/// first <c>authorization</c> value that begins with <c>Bearer </c>. Never tells the caller why it refused; tests read <see cref="LastRefusal"/>.
/// </summary>
internal sealed class Authenticator(TokenMaker tokens, IstiodOptions options)
{
    private const string Scheme = "Bearer "; // exact case, one space

    /// <summary>Why the last caller was refused.</summary>
    public string LastRefusal { get; private set; } = "";

    /// <summary>False: every credential is refused, as by an istiod whose token review is down.</summary>
    public bool AcceptsTokens { get; set; } = true;

    /// <summary>The caller's identity, or null.</summary>
    public Caller? Authenticate(IGrpcServerCall call)
    {
        if (call.ClientCertificate is { } certificate)
        {
            return new Caller(SpiffeIdOf.Uris(certificate), CredentialKind.Certificate);
        }
        if (call.MetadataAll("authorization").FirstOrDefault(v => v.StartsWith(Scheme, StringComparison.Ordinal)) is not { } bearer)
        {
            return Refuse("no client certificate and no bearer token");
        }
        IReadOnlyList<string> cluster = call.MetadataAll("clusterid"); // two values count as none
        if (cluster.Count == 1 && cluster[0].Length > 0 && !options.Clusters.Contains(cluster[0]))
        {
            return Refuse($"unknown cluster {cluster[0]}");
        }
        if (!AcceptsTokens) { return Refuse("token review is down"); }
        if (tokens.Review(bearer[Scheme.Length..], options.Audience, out string reason) is not { } account) { return Refuse("token: " + reason); }
        string[] parts = account.Split('/');
        return new Caller([$"spiffe://{options.TrustDomain}/ns/{parts[0]}/sa/{parts[1]}"], CredentialKind.Token);
    }

    private Caller? Refuse(string why)
    {
        LastRefusal = why;
        return null;
    }
}
