using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.Configuration;
using VmSidecar.Identity;

namespace VmSidecar.Commands;

/// <summary>
/// Looks at the host for what would stop the agent although its settings read well: roots, token, saved certificate, Envoy, ports, socket paths.
/// Reads files only. Used by <c>check</c>, and by the daemon before it starts anything.
/// </summary>
internal sealed class HostChecks(SidecarOptions options, TimeProvider time)
{
    private const string Audience = "istio-ca";
    private const int MaxSocketPath = 107; // sun_path without its final zero, unix(7)
    private static readonly TimeSpan s_soon = TimeSpan.FromMinutes(5); // less than this is no time to finish a start in

    private readonly List<ConfigError> _found = [];

    /// <summary>For what was read, mistakes or not: all of them are to be reported at once.</summary>
    public static HostChecks Of(ConfigLoad load, TimeProvider time) => new(load.Draft, time) { HasMistakes = load.Options is null };

    /// <summary>Some options stand at their defaults because their settings are wrong: what only compares settings with each other or with the token is left out.</summary>
    public bool HasMistakes { get; init; }

    /// <summary>Everything found. Mistakes that time or the operator can mend while the agent runs have <c>IsMendable</c> set.</summary>
    public IReadOnlyList<ConfigError> Run()
    {
        CheckRoots();
        bool hasCertificate = CheckSavedCertificate();
        CheckToken(hasCertificate);
        CheckEnvoy();
        if (!HasMistakes) { CheckPorts(); }
        CheckSocketPaths();
        return _found;
    }

    private void CheckRoots()
    {
        IdentityOptions identity = options.Identity;
        bool caNeeds = !identity.FileMounted && !identity.CaPlaintext, xdsNeeds = !options.Xds.Plaintext;
        foreach (string path in new[] { caNeeds ? identity.CaRootFile : null, xdsNeeds ? identity.XdsRootFile : null }.OfType<string>().Distinct()) { CheckRoot(path); }
    }

    private void CheckRoot(string path)
    {
        if (Read(path, "root certificate", "Copy root-cert.pem from istioctl's output there") is not { } pem) { return; }
        var roots = new X509Certificate2Collection();
        try { roots.ImportFromPem(pem); }
        catch (CryptographicException) { Add(path, "root certificate", "is not a PEM file of certificates", "Copy root-cert.pem from istioctl's output again"); return; }
        try
        {
            if (roots.Count == 0) { Add(path, "root certificate", "holds no certificate", "Copy root-cert.pem from istioctl's output again"); return; }
            DateTimeOffset now = time.GetUtcNow();
            if (roots.All(r => r.NotAfter.ToUniversalTime() < now))
            {
                Add(path, "root certificate", $"expired on {roots.Max(r => r.NotAfter).ToUniversalTime():yyyy-MM-dd HH:mm} UTC", "Run istioctl x workload entry configure again and copy root-cert.pem");
            }
            else if (roots.All(r => r.NotBefore.ToUniversalTime() > now))
            {
                Add(path, "root certificate", "is not valid yet: the host's clock is behind", "Set the clock (timedatectl set-ntp true)", isMendable: true);
            }
        }
        finally { foreach (X509Certificate2 root in roots) { root.Dispose(); } }
    }

    /// <summary>True when the saved certificate can authenticate now.</summary>
    private bool CheckSavedCertificate()
    {
        if (options.Identity.ProvisionedDirectory is not { } folder) { return false; }
        string chain = Path.Combine(folder, "cert-chain.pem"), key = Path.Combine(folder, "key.pem");
        if (!File.Exists(chain)) { return false; }
        try
        {
            using X509Certificate2 leaf = X509Certificate2.CreateFromPem(File.ReadAllText(chain));
            if (!File.Exists(key)) { Warn(chain, "certificate", "has no key.pem beside it, so the token is needed", "Nothing, if there is a token"); return false; }
            return leaf.NotAfter.ToUniversalTime() > time.GetUtcNow().UtcDateTime && leaf.NotBefore.ToUniversalTime() <= time.GetUtcNow().UtcDateTime;
        }
        catch (CryptographicException) { Warn(chain, "certificate", "is not a PEM certificate, so the token is needed", $"Remove it; a new one will be written"); }
        catch (UnauthorizedAccessException) { Add(chain, "certificate", "may not be read by this user", $"Run: chown istio-proxy {folder} {chain} {key}", isMendable: true); }
        catch (IOException e) { Warn(chain, "certificate", $"cannot be read: {e.Message.TrimEnd('.')}", "Check the disk"); }
        return false;
    }

    /// <summary>Matters only while no certificate can authenticate; istiod never says why it refuses a token, so each reason is read here.</summary>
    private void CheckToken(bool hasCertificate)
    {
        if (options.Identity.TokenFile is not { } path || options.Identity.FileMounted) { return; }
        if (!File.Exists(path) && hasCertificate) { return; } // after a reboot: /var/run is gone, the certificate is not
        const string NewToken = "Run istioctl x workload entry configure again and copy istio-token there";
        int before = _found.Count;
        string? text = Read(path, "token", NewToken);
        if (text is not null) { CheckTokenText(path, text.Trim(), NewToken); }
        bool isToldLater = !hasCertificate && (text is not null || !Path.Exists(path)); // how to make it readable is said here only
        for (int i = before; i < _found.Count; i++)
        {
            ConfigError found = _found[i];
            _found[i] = found with { IsWarning = hasCertificate || found.IsWarning, IsMendable = true, IsToldLater = isToldLater && !found.IsWarning };
        }
    }

    private void CheckTokenText(string path, string token, string newToken)
    {
        if (token.Length == 0) { Add(path, "token", "is empty", newToken); return; }
        if (!TokenClaims.TryParse(token, out TokenClaims? claims)) { Add(path, "token", "is not a token (JWT)", newToken); return; }
        DateTimeOffset now = time.GetUtcNow();
        if (claims.Expires < now) { Add(path, "token", $"expired on {claims.Expires:yyyy-MM-dd HH:mm} UTC", newToken); }
        else if (claims.Expires < now + s_soon) { Warn(path, "token", $"expires at {claims.Expires:HH:mm:ss} UTC", "Start the agent at once, or make a new token"); }
        if (claims.NotBefore > now) { Add(path, "token", "is not valid yet: the host's clock is behind", "Set the clock (timedatectl set-ntp true)"); }
        if (claims.Audiences.Length > 0 && !claims.Audiences.Contains(Audience)) { Add(path, "token", $"is made for {string.Join(", ", claims.Audiences)}, not for {Audience}", newToken); }
        if (!HasMistakes && claims.Workload is { } workload && options.Identity.ServiceAccount.Length > 0
            && (workload.Namespace != options.Identity.Namespace || workload.Account != options.Identity.ServiceAccount))
        {
            Add(path, "token", $"belongs to {workload.Namespace}/{workload.Account}, but cluster.env says {options.Identity.Namespace}/{options.Identity.ServiceAccount}",
                "Copy cluster.env and istio-token of the same WorkloadGroup");
        }
    }

    private void CheckEnvoy()
    {
        EnvoyOptions envoy = options.Envoy;
        if (!envoy.Enabled || envoy.Binary is not null) { return; }
        Add("host", "Envoy binary", $"no Envoy was found (looked at {string.Join(", ", envoy.SearchedFor)})",
            "Install Istio's Envoy as /usr/local/bin/envoy, or the envoy package of your distribution, or set binaryPath in the mesh file"); // a restart finds none either: the unit fails once, with this line
    }

    /// <summary>Two uses of one port: whoever binds second fails, or Envoy answers itself.</summary>
    private void CheckPorts()
    {
        (string Name, int Port)[] ports =
        [
            ("proxyAdminPort", options.Envoy.AdminPort), ("statusPort", options.Status.Port), ("ENVOY_STATUS_PORT", options.Envoy.EnvoyStatusPort),
            ("ENVOY_PROMETHEUS_PORT", options.Envoy.EnvoyPrometheusPort), ("outbound capture", 15001), ("inbound capture", 15006),
            .. options.Dns.Enabled ? [("DNS_PROXY_ADDR", options.Dns.Listen[0].Port)] : Array.Empty<(string, int)>(),
        ];
        foreach (IGrouping<int, (string Name, int Port)> same in ports.Where(p => p.Port != 0).GroupBy(p => p.Port).Where(g => g.Count() > 1))
        {
            Add("settings", string.Join(", ", same.Select(p => p.Name)), $"share port {same.Key}", "Give each a port of its own");
        }
    }

    private void CheckSocketPaths()
    {
        foreach (string socket in options.Sds.Sockets.Append(options.Xds.Socket).Where(s => System.Text.Encoding.UTF8.GetByteCount(s) > MaxSocketPath))
        {
            Add(socket, "socket", $"the path is longer than the {MaxSocketPath} bytes a socket address holds", "Use a shorter root folder or configPath");
        }
    }

    private string? Read(string path, string what, string fix)
    {
        try { return File.ReadAllText(path); }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException) { Add(path, what, "does not exist", fix); }
        catch (UnauthorizedAccessException) when (Directory.Exists(path)) { Add(path, what, "is a folder", $"Remove it. {fix}"); } // open(2) succeeds, reading is refused
        catch (UnauthorizedAccessException) { Add(path, what, "may not be read by this user", $"Run: chown istio-proxy {path} && chmod u+r {path}", isMendable: true); }
        catch (IOException e) { Add(path, what, $"cannot be read: {e.Message.TrimEnd('.')}", "Check the disk and the path"); }
        return null;
    }

    private void Add(string file, string key, string problem, string fix, bool isMendable = false) => _found.Add(new(file, 0, key, problem, fix) { IsMendable = isMendable });

    private void Warn(string file, string key, string problem, string fix) => _found.Add(new(file, 0, key, problem, fix, IsWarning: true));
}
