using System.Net.Security;
using System.Security.Authentication;

using VmSidecar.Configuration;

namespace VmSidecar.Identity;

/// <summary>Pure: what TLS to istiod may use under COMPLIANCE_POLICY, as the classic agent limits it.</summary>
internal static class CompliancePolicy
{
    private static readonly TlsCipherSuite[] s_fips =
    [
        TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];

    /// <summary>TLS versions.</summary>
    public static SslProtocols Protocols(TlsCompliance policy) => policy switch
    {
        TlsCompliance.Fips => SslProtocols.Tls12,
        TlsCompliance.PostQuantum => SslProtocols.Tls13,
        _ => SslProtocols.Tls12 | SslProtocols.Tls13,
    };

    /// <summary>Cipher suites; null: those of the host's policy.</summary>
    public static CipherSuitesPolicy? Suites(TlsCompliance policy) => policy switch
    {
        TlsCompliance.Fips => new CipherSuitesPolicy(s_fips),
        TlsCompliance.PostQuantum => new CipherSuitesPolicy([TlsCipherSuite.TLS_AES_256_GCM_SHA384, TlsCipherSuite.TLS_AES_128_GCM_SHA256]),
        _ => null,
    };
}
