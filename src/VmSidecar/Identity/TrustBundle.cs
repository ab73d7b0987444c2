using VmSidecar.Lifecycle;

namespace VmSidecar.Identity;

/// <summary>Extra trust anchors from istiod. Written by the relay, read by CertificateRotator, which merges them into what peers are checked against.</summary>
internal sealed class TrustBundle : ITrustSink
{
    /// <summary>The latest list, merged; empty when istiod has none or withdrew all; null before its first word.</summary>
    public Published<string> Anchors { get; } = new();

    public string? Accept(IReadOnlyList<string> pems)
    {
        string merged = PemBundle.Merge(pems);
        if (merged.Length == 0 && pems.Any(p => p.Length > 0)) { return "ca_certificates_pem holds no certificate that can be parsed"; }
        if (merged != Anchors.Current) { Anchors.Set(merged); }
        return null;
    }
}
