using System.Globalization;

using VmSidecar.Configuration;
using VmSidecar.Grpc;

namespace VmSidecar.Identity;

/// <summary>What the agent can see by itself when istiod refuses.</summary>
/// <param name="Options">Who this VM is meant to be.</param>
/// <param name="Pair">The client certificate on disk, null when unusable.</param>
/// <param name="PairReason">Why it is unusable.</param>
/// <param name="Token">The token, null when there is none. Never logged.</param>
/// <param name="TokenFile">Where it is, or should be.</param>
/// <param name="Now">This host's clock.</param>
internal sealed record RefusalEvidence(IdentityOptions Options, CertificatePair? Pair, string PairReason, string? Token, string? TokenFile, DateTimeOffset Now)
{
    /// <summary>How far this clock is ahead of istiod's where that was measured (negative: behind); zero: not measured, or not off.</summary>
    public TimeSpan ClockOffset { get; init; }

    /// <summary>What istiod's clock says, as far as that was measured: it is the one that counts.</summary>
    public DateTimeOffset ServerNow => Now - ClockOffset;
}

/// <summary>Pure: says in one line why istiod probably refused and what to do. istiod answers every bad token with the same words, so the token and the certificate are read here.</summary>
internal static class RefusalDoctor
{
    private const string Renew = "Run 'istioctl x workload entry configure' again and copy its istio-token to this VM; it is picked up at once";
    private const string Audience = "istio-ca";

    /// <summary>The line for the log: reason, then the fix; a clock that was measured to be off comes first, as it explains the rest.</summary>
    public static string Explain(GrpcStatus status, RefusalEvidence seen)
    {
        string clock = ClockOffset.Words(seen.ClockOffset, seen.Options.ClockTolerance);
        return clock.Length == 0 ? Reason(status, seen) : $"{clock}. Set it (timedatectl, chrony). {Reason(status, seen)}";
    }

    private static string Reason(GrpcStatus status, RefusalEvidence seen) => status.Code switch
    {
        GrpcStatusCode.Unauthenticated => Unauthenticated(seen),
        GrpcStatusCode.Unavailable when TokenProblem(seen) is { } token && CertificateProblem(seen) is { } certificate => $"{status.Message}; besides, {token}, and {certificate}. {Renew}",
        GrpcStatusCode.Unavailable => $"{status.Message}. {UnavailableFix(status.Message)}",
        GrpcStatusCode.PermissionDenied => Denied(status, seen),
        GrpcStatusCode.Unimplemented => "this server has no such service: a CA that is off, or not istiod. Check CA_ADDR and discoveryAddress (port 15012)",
        GrpcStatusCode.InvalidArgument when status.Message.Contains("TTL", StringComparison.Ordinal) => $"{status.Message}. Lower SECRET_TTL",
        GrpcStatusCode.DeadlineExceeded => "no answer from istiod in time. Check route and firewall to its port, and istiod's load and logs; it is tried again",
        _ => status.Message,
    };

    /// <summary>Null when nothing is wrong with the token as far as this host can see, else the reason without the fix.</summary>
    public static string? TokenProblem(RefusalEvidence seen)
    {
        if (seen.Token is null) { return seen.TokenFile is null ? "no token is configured" : $"there is no token in {seen.TokenFile}"; }
        if (!TokenClaims.TryParse(seen.Token, out TokenClaims? claims)) { return $"{seen.TokenFile} does not hold a JWT"; }
        if (claims.Expires is { } end && end <= seen.ServerNow) { return $"the token in {seen.TokenFile} has expired at {Utc(end)}"; }
        if (claims.NotBefore is { } begin && begin > seen.ServerNow) { return $"the token in {seen.TokenFile} is not valid before {Utc(begin)}; this clock says {Utc(seen.Now)}{(seen.ClockOffset == TimeSpan.Zero ? " and may be behind" : "")}"; }
        if (seen.Options.TokenSource == TokenSourceKind.GoogleComputeEngine) { return null; } // names a machine for the mesh, not a service account for istiod
        if (claims.Audiences.Length > 0 && !claims.Audiences.Contains(Audience)) { return $"the token in {seen.TokenFile} is for audience {string.Join(", ", claims.Audiences)}, not {Audience}"; }
        if (claims.Workload is not { } workload) { return $"the token in {seen.TokenFile} is of '{claims.Subject}', which is no service account"; }
        if (workload.Namespace != seen.Options.Namespace || workload.Account != seen.Options.ServiceAccount)
        {
            return $"the token in {seen.TokenFile} is of {workload.Namespace}/{workload.Account}, but this VM is {seen.Options.Namespace}/{seen.Options.ServiceAccount}";
        }
        return null;
    }

    /// <summary>Null when the client certificate looks good from here, else the reason.</summary>
    public static string? CertificateProblem(RefusalEvidence seen)
    {
        if (seen.Pair is not { } pair) { return $"there is no usable client certificate ({seen.PairReason})"; }
        if (pair.NotAfter <= seen.ServerNow) { return $"the client certificate has expired at {Utc(pair.NotAfter)}"; }
        if (pair.NotBefore > seen.ServerNow) { return $"the client certificate is not valid before {Utc(pair.NotBefore)}; this clock says {Utc(seen.Now)}"; }
        return SpiffeName.Of(pair.Leaf) is { } name && !SpiffeName.SameWorkload(name, seen.Options.SpiffeId) ? $"the client certificate is for {name}, but this VM is {seen.Options.SpiffeId}" : null;
    }

    private static string UnavailableFix(string message)
    {
        bool Has(string words) => message.Contains(words, StringComparison.Ordinal);
        return 0 switch
        {
            _ when Has("missing a root certificate") => "Copy root-cert.pem from istioctl's output there; it is picked up at once",
            _ when Has(", not for ") => "Use one of those names in discoveryAddress and the hosts file, or set ISTIOD_SAN to one of them",
            _ when Has("trusted roots") => "Run 'istioctl x workload entry configure' against this cluster and copy its root-cert.pem to this VM; it is picked up at once",
            _ when Has("cannot be resolved") || Has("resolving the name") => "Append the hosts file from istioctl's output to /etc/hosts; it is tried again",
            _ => "Check that istiod runs, and its address in /etc/hosts and discoveryAddress; it is tried again",
        };
    }

    private static string Unauthenticated(RefusalEvidence seen)
    {
        string? token = TokenProblem(seen);
        string? certificate = CertificateProblem(seen);
        if (token is not null) { return certificate is null ? $"{token}, and the client certificate was not accepted either. {Renew}" : $"{token}, and {certificate}. {Renew}"; }
        _ = TokenClaims.TryParse(seen.Token!, out TokenClaims? claims);
        return $"the token looks good from here (issuer {claims?.Issuer}, valid until {(claims?.Expires is { } end ? Utc(end) : "ever")}), so istiod does not accept its signature, its issuer or cluster "
            + $"'{seen.Options.ClusterId}'. Check that it comes from the cluster istiod runs in and that ISTIO_META_CLUSTER_ID names it";
    }

    private static string Denied(GrpcStatus status, RefusalEvidence seen) =>
        $"{status.Message}: the identity shown is not the one the node claims. "
        + (CertificateProblem(seen) ?? TokenProblem(seen) ?? $"This VM is configured as {seen.Options.Namespace}/{seen.Options.ServiceAccount}")
        + ". Make POD_NAMESPACE and SERVICE_ACCOUNT in cluster.env, the token and /etc/certs belong to one workload";

    private static string Utc(DateTimeOffset when) => when.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
