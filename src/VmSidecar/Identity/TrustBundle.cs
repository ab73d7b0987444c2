using Google.Protobuf;

using VmSidecar.Lifecycle;

namespace VmSidecar.Identity;

/// <summary>Takes the extra trust anchors istiod sends over xDS (PCDS). Called by the relay, one call at a time.</summary>
internal interface ITrustSink
{
    /// <summary>Replaces the anchors by those of an encoded <c>istio.mesh.v1alpha1.ProxyConfig</c>. Returns null when taken, else the reason for the NACK; the old ones then stay.</summary>
    string? AcceptTrust(ReadOnlySpan<byte> proxyConfig);
}

/// <summary>Extra trust anchors from istiod and from the mesh file. Written by the relay, read by CertificateRotator, which merges them into what peers are checked against.</summary>
internal sealed class TrustBundle : ITrustSink
{
    private const int CaCertificatesPem = 34; // field number in istio.mesh.v1alpha1.ProxyConfig

    /// <summary>The latest list, joined; empty when istiod withdrew all.</summary>
    public Published<string> Anchors { get; } = new();

    public string? AcceptTrust(ReadOnlySpan<byte> proxyConfig)
    {
        List<string> all = [];
        using var input = new CodedInputStream(proxyConfig.ToArray());
        try
        {
            for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
            {
                if (tag == WireFormat.MakeTag(CaCertificatesPem, WireFormat.WireType.LengthDelimited)) { all.Add(input.ReadString()); }
                else { input.SkipLastField(); }
            }
        }
        catch (InvalidProtocolBufferException e) { return $"not a ProxyConfig: {e.Message}"; }
        string merged = PemBundle.Merge(all);
        if (merged.Length == 0 && all.Any(a => a.Length > 0)) { return "ca_certificates_pem holds no certificate that can be parsed"; }
        if (merged != (Anchors.Current ?? "")) { Anchors.Set(merged); }
        return null;
    }
}
