using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace VmSidecar.TestKit.Pki;

/// <summary>A real X.509 CA on P-256 keys that signs as istiod's built-in CA does and judges client certificates as istiod's TLS layer does. Time comes from the clock given. Thread-safe.</summary>
internal sealed class FakeCa(TimeProvider time, FakeCaOptions? options = null)
{
    private readonly Lock _gate = new();
    private Signer _signer = Signer.New(time, (options ?? new()).TrustDomain, (options ?? new()).Intermediates, 1);
    private X509Certificate2Collection _roots = [];
    private Signer? _announced;
    private int _generation = 1;

    public FakeCaOptions Options { get; set; } = options ?? new();

    /// <summary>The root that signs now.</summary>
    public X509Certificate2 Root { get { lock (_gate) { return _signer.Root; } } }

    /// <summary>The intermediates that sign now, nearest to the leaf first.</summary>
    public X509Certificate2Collection Intermediates { get { lock (_gate) { return [.. _signer.Intermediates]; } } }

    /// <summary>Every trusted root, the signing one first.</summary>
    public X509Certificate2Collection Roots { get { lock (_gate) { return [_signer.Root, .. _roots]; } } }

    /// <summary>The root bundle: the last element of every chain, the content of config map istio-ca-root-cert.</summary>
    public string RootsPem => string.Concat(Roots.Select(Pem));

    /// <summary>A new root, or the announced one, signs from now on. The old ones stay in the bundle if <paramref name="keepOld"/>; else only the new one is trusted and sent.</summary>
    public void RotateRoot(bool keepOld)
    {
        lock (_gate)
        {
            Signer next = _announced ?? Signer.New(time, Options.TrustDomain, Options.Intermediates, ++_generation);
            _roots = keepOld ? [_signer.Root, .. _roots.Where(r => !r.Equals(next.Root))] : [];
            (_signer, _announced) = (next, null);
        }
    }

    /// <summary>Makes the next root and puts it into the bundle; the present one goes on signing until <see cref="RotateRoot"/>. The first step of a planned rollover.</summary>
    public void AnnounceRoot()
    {
        lock (_gate)
        {
            _announced = Signer.New(time, Options.TrustDomain, Options.Intermediates, ++_generation);
            _roots = [.. _roots, _announced.Root];
        }
    }

    /// <summary>Adds a root to the bundle without signing with it: the first step of a planned rollover.</summary>
    public void AddRoot(X509Certificate2 root) { lock (_gate) { _roots = [.. _roots, root]; } }

    /// <summary>Takes every root but the signing one out of the bundle: the last step of a rollover.</summary>
    public void DropOldRoots() { lock (_gate) { _roots = []; } }

    /// <summary>Signs a CSR for the caller's identity as istiod does (only the public key is taken). The chain, leaf first, or null and istiod's own refusal text.</summary>
    public IReadOnlyList<string>? SignCsr(string csrPem, string spiffeId, long validitySeconds, out string refusal)
    {
        refusal = "";
        if (!csrPem.Contains("-----BEGIN CERTIFICATE REQUEST-----", StringComparison.Ordinal))
        {
            refusal = "CSR signing error (certificate signing request is not properly encoded)";
            return null;
        }
        CertificateRequest request;
        try
        {
            request = CertificateRequest.LoadSigningRequestPem(csrPem, HashAlgorithmName.SHA256, CertificateRequestLoadOptions.UnsafeLoadCertificateExtensions, RSASignaturePadding.Pkcs1);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            refusal = "CSR signing error (failed to parse X.509 certificate signing request)";
            return null;
        }
        TimeSpan ttl = Options.ForcedTtl ?? (validitySeconds <= 0 ? Options.DefaultTtl : TimeSpan.FromSeconds(validitySeconds));
        if (ttl > Options.MaxTtl)
        {
            refusal = $"CSR signing error (requested TTL {GoHours(ttl)} is greater than the max allowed TTL {GoHours(Options.MaxTtl)})";
            return null;
        }
        return Elements(SignLeaf(request.PublicKey, spiffeId, ttl));
    }

    /// <summary>A workload certificate with a fresh P-256 key. <paramref name="notBefore"/> and <paramref name="ttl"/> may put it in the past or future.</summary>
    public Issued Issue(string spiffeId, TimeSpan ttl, DateTimeOffset? notBefore = null)
    {
        ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        X509Certificate2 leaf = SignLeaf(new PublicKey(key), spiffeId, ttl, notBefore);
        return new Issued(leaf.CopyWithPrivateKey(key), Intermediates, Elements(leaf), key.ExportECPrivateKeyPem() + "\n");
    }

    /// <summary>A serving certificate with DNS and IP names, as istiod's own.</summary>
    public Issued IssueServer(params string[] names) => IssueServer(TimeSpan.FromDays(90), names);

    /// <summary>A serving certificate that ends after <paramref name="ttl"/> (negative: has ended).</summary>
    public Issued IssueServer(TimeSpan ttl, params string[] names)
    {
        ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var san = new SubjectAlternativeNameBuilder();
        foreach (string name in names)
        {
            if (System.Net.IPAddress.TryParse(name, out System.Net.IPAddress? ip)) { san.AddIpAddress(ip); }
            else { san.AddDnsName(name); }
        }
        X509Certificate2 leaf = Sign(new PublicKey(key), san.Build(critical: true), ttl, null, ["1.3.6.1.5.5.7.3.1"]);
        return new Issued(leaf.CopyWithPrivateKey(key), Intermediates, Elements(leaf), key.ExportECPrivateKeyPem() + "\n");
    }

    /// <summary>Judges a client certificate as istiod's TLS layer does: chain to the roots, validity now, clientAuth and serverAuth if any EKU, exactly one URI SAN of the trust domain. Null when good, else why not.</summary>
    public string? RefuseClient(X509Certificate2 leaf, X509Certificate2Collection sent, out string spiffeId)
    {
        spiffeId = "";
        using var chain = new X509Chain { ChainPolicy = Policy(sent) };
        if (!chain.Build(leaf)) { return "x509: " + string.Join(", ", chain.ChainStatus.Select(s => s.Status)); }
        IReadOnlyList<string> uris = SpiffeIdOf.Uris(leaf);
        if (uris.Count != 1) { return $"peer certificate does not contain 1 URI type SAN, detected {uris.Count}"; }
        if (!uris[0].StartsWith($"spiffe://{Options.TrustDomain}/ns/", StringComparison.Ordinal)) { return "no cert pool found for trust domain of " + uris[0]; }
        spiffeId = uris[0];
        return null;
    }

    private X509ChainPolicy Policy(X509Certificate2Collection sent)
    {
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true,
            VerificationTimeIgnored = false, VerificationTime = time.GetUtcNow().UtcDateTime,
        };
        policy.CustomTrustStore.AddRange(Roots);
        policy.ExtraStore.AddRange(sent);
        policy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.2"));
        policy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        return policy;
    }

    private X509Certificate2 SignLeaf(PublicKey key, string spiffeId, TimeSpan ttl, DateTimeOffset? notBefore = null) =>
        Sign(key, SpiffeIdOf.Extension(spiffeId), ttl, notBefore, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);

    private X509Certificate2 Sign(PublicKey key, X509Extension san, TimeSpan ttl, DateTimeOffset? notBefore, string[] usages)
    {
        Signer signer;
        lock (_gate) { signer = _signer; }
        var request = new CertificateRequest(new X500DistinguishedName([0x30, 0x00]), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature | X509KeyUsageFlags.KeyEncipherment, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([.. usages.Select(u => new Oid(u))], critical: false));
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, critical: true));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(signer.Issuer, true, false));
        request.CertificateExtensions.Add(san);
        DateTimeOffset now = time.GetUtcNow();
        DateTimeOffset end = (notBefore ?? now) + ttl;
        DateTimeOffset begin = notBefore ?? now - Options.BackDate;
        if (begin > end) { begin = end - TimeSpan.FromHours(1); }
        return request.Create(signer.Issuer.SubjectName, X509SignatureGenerator.CreateForECDsa(signer.IssuerKey), begin, end, RandomNumberGenerator.GetBytes(16));
    }

    private List<string> Elements(X509Certificate2 leaf)
    {
        List<string> middle = [.. Intermediates.Select(Pem)];
        if (Options.JoinIntermediates && middle.Count > 0) { middle = [string.Concat(middle)]; }
        return [Pem(leaf), .. middle, RootsPem];
    }

    private static string Pem(X509Certificate2 certificate) => new StringBuilder(certificate.ExportCertificatePem()).Append('\n').ToString();

    private static string GoHours(TimeSpan span) => $"{(long)span.TotalHours}h{span.Minutes}m{span.Seconds}s";

    /// <summary>One generation of keys: the root and the intermediates below it.</summary>
    private sealed record Signer(X509Certificate2 Root, X509Certificate2Collection Intermediates, X509Certificate2 Issuer, ECDsa IssuerKey)
    {
        public static Signer New(TimeProvider time, string organization, int depth, int generation)
        {
            ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            DateTimeOffset now = time.GetUtcNow();
            CertificateRequest Ca(string name, ECDsa own)
            {
                var request = new CertificateRequest($"O={organization}, CN={name}", own, HashAlgorithmName.SHA256);
                request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, critical: true));
                request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
                request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
                return request;
            }
            X509Certificate2 root = Ca($"root {generation}", key).CreateSelfSigned(now.AddDays(-30), now.AddYears(10));
            X509Certificate2 issuer = root;
            X509Certificate2Collection below = [];
            for (int level = 1; level <= depth; level++)
            {
                ECDsa own = ECDsa.Create(ECCurve.NamedCurves.nistP256);
                CertificateRequest request = Ca($"intermediate {generation}.{level}", own);
                request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(issuer, true, false));
                issuer = request.Create(issuer.SubjectName, X509SignatureGenerator.CreateForECDsa(key), now.AddDays(-30), now.AddYears(5), RandomNumberGenerator.GetBytes(16));
                key = own;
                below.Insert(0, issuer);
            }
            return new Signer(root, below, issuer, key);
        }
    }
}
