using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.Tests.Grpc;

/// <summary>A root and leaves made for one test.</summary>
internal sealed class TestCertificates : IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    public TestCertificates(string name)
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        Root = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
    }

    public X509Certificate2 Root { get; }

    public X509Certificate2 Leaf(string dnsName)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        if (IPAddress.TryParse(dnsName, out IPAddress? address)) { names.AddIpAddress(address); }
        else { names.AddDnsName(dnsName); }
        request.CertificateExtensions.Add(names.Build());
        byte[] serial = RandomNumberGenerator.GetBytes(8);
        using X509Certificate2 bare = request.Create(Root, Root.NotBefore, Root.NotAfter, serial);
        return bare.CopyWithPrivateKey(key);
    }

    public X509ChainPolicy Policy() => new()
    {
        TrustMode = X509ChainTrustMode.CustomRootTrust,
        CustomTrustStore = { Root },
        RevocationMode = X509RevocationMode.NoCheck,
    };

    public Func<SslServerAuthenticationOptions> Server(string name, bool wantClient = false)
    {
        X509Certificate2 leaf = Leaf(name);
        return () => new SslServerAuthenticationOptions
        {
            ServerCertificate = leaf,
            ClientCertificateRequired = wantClient,
            CertificateChainPolicy = Policy(),
            RemoteCertificateValidationCallback = (_, certificate, _, errors) => certificate is null || errors == SslPolicyErrors.None,
        };
    }

    public Func<SslClientAuthenticationOptions> Client(string name, X509Certificate2? own = null) => () => new SslClientAuthenticationOptions
    {
        TargetHost = name,
        CertificateChainPolicy = Policy(),
        ClientCertificates = own is null ? [] : [own],
    };

    public void Dispose()
    {
        Root.Dispose();
        _key.Dispose();
    }
}
