using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="IdentityOptions"/>: the CA, roots, certificate folders, token, key and renewal.</summary>
internal static class IdentitySettings
{
    private const string System = "SYSTEM"; // CA_ROOT_CA and XDS_ROOT_CA: the OS trust store
    private const string DefaultRoot = "./var/run/secrets/istio/root-cert.pem";

    public static IdentityOptions Read(SettingReader settings, HostPaths paths, NodeIdentity identity)
    {
        EffectiveEnvironment environment = settings.Environment;
        bool fileMounted = settings.Bool("FILE_MOUNTED_CERTS", false);
        string? provisioned = Folder(settings, paths, "PROV_CERT", fileMounted), output = Folder(settings, paths, "OUTPUT_CERTS", fileMounted);
        if (fileMounted && environment.NonEmpty("PROV_CERT") is not null)
        {
            environment.TryGet("PROV_CERT", out Setting both);
            settings.Mistake("PROV_CERT", both, "and FILE_MOUNTED_CERTS exclude each other", "Remove one of them", 0);
        }
        (string caAddress, bool ownCa) = CaAddress(settings);
        MountedFiles? client = ClientFiles(settings, paths, fileMounted);
        TokenSourceKind tokenSource = TokenSource(settings);
        return new()
        {
            CaAddress = caAddress,
            CaServerName = ownCa ? null : environment.NonEmpty("ISTIOD_SAN"),
            CaPlaintext = caAddress.EndsWith(":15010", StringComparison.Ordinal),
            CaRootFile = CaRoot(settings, paths, provisioned),
            XdsRootFile = XdsRoot(settings, paths, provisioned, fileMounted),
            ProvisionedDirectory = provisioned,
            OutputDirectory = output,
            OutputWorldReadable = environment.NonEmpty("KUBERNETES_SERVICE_HOST") is not null,
            TokenFile = Token(settings, paths),
            PersistentTokenFile = paths.PersistentToken,
            TokenSource = tokenSource,
            TokenCommand = tokenSource == TokenSourceKind.Exec ? TokenCommand(settings) : [],
            MetadataHost = settings.NonEmptyText("GCE_METADATA_HOST", "169.254.169.254"),
            Compliance = Compliance(settings),
            FileMounted = fileMounted,
            ClientFiles = client,
            Mounted = Mounted(settings, paths, fileMounted, client),
            StateDirectory = paths.State,
            ExtraRoots = ExtraRoots(settings),
            TrustDomain = TrustDomain(settings),
            Namespace = identity.Namespace,
            ServiceAccount = ServiceAccount(settings),
            ClusterId = settings.Text("ISTIO_META_CLUSTER_ID", ""),
            Ttl = settings.Duration("SECRET_TTL", TimeSpan.FromHours(24)),
            GraceRatio = settings.Ratio("SECRET_GRACE_PERIOD_RATIO", 0.5),
            GraceJitter = settings.Ratio("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01),
            Algorithm = Algorithm(settings),
            RsaBits = settings.Integer("WORKLOAD_RSA_KEY_SIZE", 2048, least: 2048),
            Pkcs8 = settings.Bool("PKCS8_KEY", false),
            CertSigner = settings.Text("ISTIO_META_CERT_SIGNER", ""),
            CaHeaders = Headers(settings, "CA_HEADER_"),
            XdsHeaders = Headers(settings, "XDS_HEADER_"),
            ClockTolerance = settings.Duration("VMSIDECAR_CLOCK_TOLERANCE", TimeSpan.FromMinutes(5)),
            KeepAliveInterval = settings.Wait("GRPC_KEEPALIVE_INTERVAL", TimeSpan.FromSeconds(30), least: TimeSpan.FromSeconds(10)),
            KeepAliveTimeout = settings.Wait("GRPC_KEEPALIVE_TIMEOUT", TimeSpan.FromSeconds(10), least: TimeSpan.FromSeconds(1)),
        };
    }

    /// <summary>The start script's <c>${X-/etc/certs}</c>: set but empty switches the feature off. With FILE_MOUNTED_CERTS there is no default.</summary>
    private static string? Folder(SettingReader settings, HostPaths paths, string name, bool fileMounted)
    {
        string folder = settings.Text(name, fileMounted ? "" : "/etc/certs");
        return folder.Length == 0 ? null : paths.At(folder);
    }

    /// <summary>CA_ADDR, else where istiod's discovery is. Second: true when CA_ADDR was given.</summary>
    private static (string Address, bool IsOwn) CaAddress(SettingReader settings)
    {
        if (settings.Environment.NonEmpty("CA_ADDR") is not null && settings.Environment.TryGet("CA_ADDR", out Setting setting))
        {
            settings.Note("CA_ADDR", setting.Value, setting.Origin);
            settings.TryHostPort("CA_ADDR", setting);
            return (setting.Value, true);
        }
        string discovery = settings.Proxy.Value["discoveryAddress"]?.ToString() ?? "";
        settings.Note("CA_ADDR", discovery, settings.Proxy.OriginOf("discoveryAddress"));
        return (discovery, false);
    }

    private static string? CaRoot(SettingReader settings, HostPaths paths, string? provisioned)
    {
        string given = settings.Text("CA_ROOT_CA", "");
        if (given == System) { return null; }
        if (given.Length > 0) { return paths.At(given); }
        if (settings.Text("PILOT_CERT_PROVIDER", "istiod") == "custom") { return paths.At("./etc/certs/root-cert.pem"); }
        return provisioned is not null ? Path.Combine(provisioned, "root-cert.pem") : paths.At(DefaultRoot);
    }

    private static string? XdsRoot(SettingReader settings, HostPaths paths, string? provisioned, bool fileMounted)
    {
        string given = settings.Text("XDS_ROOT_CA", "");
        if (given == System) { return null; }
        if (given.Length > 0) { return paths.At(given); }
        string wellKnown = Path.Combine(paths.Certificates, "root-cert.pem");
        if (File.Exists(wellKnown)) { return wellKnown; }
        if (provisioned is not null) { return Path.Combine(provisioned, "root-cert.pem"); }
        string? mounted = settings.Proxy.Value["proxyMetadata"]?["ISTIO_META_TLS_CLIENT_ROOT_CERT"]?.ToString();
        return fileMounted && mounted is { Length: > 0 } ? paths.At(mounted) : paths.At(DefaultRoot);
    }

    private static string Token(SettingReader settings, HostPaths paths)
    {
        string policy = settings.Text("JWT_POLICY", "third-party-jwt");
        if (policy != "third-party-jwt" && settings.Environment.TryGet("JWT_POLICY", out Setting setting))
        {
            settings.Warn("JWT_POLICY", setting.Origin, $"'{policy}' does not matter on a VM; the token of {paths.Token} is used", "Remove the line");
        }
        settings.Note("token file", paths.Token, SettingOrigin.Default);
        return paths.Token;
    }

    private static TokenSourceKind TokenSource(SettingReader settings)
    {
        switch (settings.Text("CREDENTIAL_FETCHER_TYPE", "JWT"))
        {
            case "JWT" or "": return TokenSourceKind.File;
            case "exec": return TokenSourceKind.Exec;
            case "GoogleComputeEngine": return TokenSourceKind.GoogleComputeEngine;
            case "Mock": return TokenSourceKind.Mock;
            default:
                settings.Environment.TryGet("CREDENTIAL_FETCHER_TYPE", out Setting setting);
                return settings.Mistake("CREDENTIAL_FETCHER_TYPE", setting, "is an invalid credential fetcher type", "Use JWT, exec with CREDENTIAL_FETCHER_COMMAND, or GoogleComputeEngine, or remove the line", TokenSourceKind.File);
        }
    }

    private static TlsCompliance Compliance(SettingReader settings)
    {
        switch (settings.Text("COMPLIANCE_POLICY", ""))
        {
            case "": return TlsCompliance.None;
            case "fips-140-2" or "fips-140-3": return TlsCompliance.Fips;
            case "pqc":
                settings.Environment.TryGet("COMPLIANCE_POLICY", out Setting pqc);
                settings.Warn("COMPLIANCE_POLICY", pqc.Origin, "limits TLS to 1.3 with AES-GCM; a post-quantum key agreement is used only if the host's OpenSSL offers it first (3.5 does)", "Check the host's OpenSSL");
                return TlsCompliance.PostQuantum;
            default:
                settings.Environment.TryGet("COMPLIANCE_POLICY", out Setting setting);
                return settings.Mistake("COMPLIANCE_POLICY", setting, "is not a known policy", "Use fips-140-2, fips-140-3 or pqc, or remove the line", TlsCompliance.None);
        }
    }

    /// <summary>CREDENTIAL_FETCHER_TYPE=exec: the command that prints a JWT, split at blanks.</summary>
    private static ImmutableArray<string> TokenCommand(SettingReader settings)
    {
        ImmutableArray<string> command = [.. settings.Text("CREDENTIAL_FETCHER_COMMAND", "").Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        if (command.IsEmpty && settings.Environment.TryGet("CREDENTIAL_FETCHER_TYPE", out Setting setting))
        {
            settings.Mistake("CREDENTIAL_FETCHER_TYPE", setting, "needs a command", "Set CREDENTIAL_FETCHER_COMMAND to a program that prints a JWT", 0);
        }
        return command;
    }

    /// <summary>ISTIO_META_TLS_CLIENT_* of proxyMetadata: what is shown to istiod where files are the identity.</summary>
    private static MountedFiles? ClientFiles(SettingReader settings, HostPaths paths, bool fileMounted)
    {
        string Named(string part) => settings.Proxy.Value["proxyMetadata"]?["ISTIO_META_TLS_CLIENT_" + part]?.ToString() ?? "";
        string chain = Named("CERT_CHAIN"), key = Named("KEY"), roots = Named("ROOT_CERT");
        if (!fileMounted || chain.Length == 0 || key.Length == 0) { return null; }
        settings.Note("client certificate", chain, settings.Proxy.OriginOf("proxyMetadata"));
        return new MountedFiles(paths.At(chain), paths.At(key), paths.At(roots.Length > 0 ? roots : "etc/certs/root-cert.pem"));
    }

    /// <summary>The workload's certificate issued by somebody else: mounted where the platform puts it, or asked for by FILE_MOUNTED_CERTS. Null: the CA issues it.</summary>
    private static MountedFiles? Mounted(SettingReader settings, HostPaths paths, bool fileMounted, MountedFiles? client)
    {
        string folder = paths.At("./var/run/secrets/workload-spiffe-credentials");
        string provider = settings.Text("CA_PROVIDER", "Citadel");
        if (provider == "GkeWorkloadCertificate") { return Gke(settings, MountedFiles.OfGke(folder)); }
        if (provider is not ("Citadel" or "") && settings.Environment.TryGet("CA_PROVIDER", out Setting ca))
        {
            settings.Mistake("CA_PROVIDER", ca, "is not supported", "Use Citadel or GkeWorkloadCertificate, or remove the line", 0);
        }
        if (MountedFiles.In(folder) is { Exist: true } platform) { return platform; }
        MountedFiles classic = MountedFiles.In(paths.Certificates);
        return !fileMounted ? null : classic.Exist ? classic : client ?? classic;
    }

    private static MountedFiles Gke(SettingReader settings, MountedFiles files)
    {
        string[] missing = [.. new[] { files.Chain, files.Key, files.Roots }.Where(f => !File.Exists(f))];
        if (missing.Length > 0 && settings.Environment.TryGet("CA_PROVIDER", out Setting setting))
        {
            settings.Mistake("CA_PROVIDER", setting, $"needs {string.Join(", ", missing)}", "Mount the workload certificate there, or remove the line", 0);
        }
        return files;
    }

    private static ImmutableArray<string> ExtraRoots(SettingReader settings) =>
        settings.Proxy.Value["caCertificatesPem"] is JsonArray list ? [.. list.Select(c => c?.ToString() ?? "")] : [];

    private static string TrustDomain(SettingReader settings)
    {
        string domain = settings.Text("TRUST_DOMAIN", "cluster.local");
        if (domain.Length == 0 && settings.Environment.TryGet("TRUST_DOMAIN", out Setting setting))
        {
            settings.Warn("TRUST_DOMAIN", setting.Origin, "is empty, so the identity asked for names no trust domain", "Write the mesh's trust domain, usually cluster.local");
        }
        return domain;
    }

    private static string ServiceAccount(SettingReader settings)
    {
        string account = settings.Text("SERVICE_ACCOUNT", "");
        if (account.Length == 0)
        {
            settings.Environment.TryGet("SERVICE_ACCOUNT", out Setting setting);
            settings.Warn("SERVICE_ACCOUNT", setting.Origin.Source is null ? SettingOrigin.Default : setting.Origin,
                "is not set, so the identity asked for names no account", "Copy cluster.env from istioctl's output, or set SERVICE_ACCOUNT");
        }
        return account;
    }

    private static KeyAlgorithm Algorithm(SettingReader settings)
    {
        string algorithm = settings.Text("ECC_SIGNATURE_ALGORITHM", "");
        string curve = settings.Text("ECC_CURVE", "P256");
        if (algorithm.Length == 0) { return KeyAlgorithm.Rsa; }
        if (algorithm == "ECDSA") { return curve == "P384" ? KeyAlgorithm.EcdsaP384 : KeyAlgorithm.EcdsaP256; }
        settings.Environment.TryGet("ECC_SIGNATURE_ALGORITHM", out Setting setting);
        return settings.Mistake("ECC_SIGNATURE_ALGORITHM", setting, "is not a known algorithm", "Use ECDSA, or remove the line for RSA", KeyAlgorithm.Rsa);
    }

    private static ImmutableArray<KeyValuePair<string, string>> Headers(SettingReader settings, string prefix)
    {
        KeyValuePair<string, Setting>[] found = [.. settings.Environment.All.Where(v => v.Key.Length > prefix.Length && v.Key.StartsWith(prefix, StringComparison.Ordinal))];
        foreach ((string name, Setting setting) in found) { settings.Note(name, setting.Value, setting.Origin); }
        return [.. found.Select(v => KeyValuePair.Create(v.Key[prefix.Length..], v.Value.Value))];
    }
}
