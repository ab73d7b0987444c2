using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>One CreateCertificate call as it arrived and ended.</summary>
/// <param name="Csr">PEM as sent.</param>
/// <param name="Validity">Seconds asked for.</param>
/// <param name="CertSigner">Metadata key CertSigner; null when there was no metadata.</param>
/// <param name="Authorization">The header, null when none.</param>
/// <param name="ClusterId">The header, null when none.</param>
/// <param name="ClientCertificate">Thumbprint of the client certificate, null when none.</param>
/// <param name="Identity">Whom it was issued for; null when refused.</param>
/// <param name="Status">How it ended.</param>
internal sealed record CaCall(
    string Csr, long Validity, string? CertSigner, string? Authorization, string? ClusterId, string? ClientCertificate, Caller? Identity, GrpcStatus Status);
