using System.Collections.Immutable;

using VmSidecar.Configuration;

namespace VmSidecar.Sds;

/// <summary>A resource name that stands for files: <c>file-cert:CHAIN~KEY</c>, <c>file-root:FILE</c>, <c>file-root:system</c>.</summary>
internal sealed record SecretFileName(string Name, string? Chain, string? Key, string? Root)
{
    private const string CertificatePrefix = "file-cert:";
    private const string RootPrefix = "file-root:";

    /// <summary>Where distributions keep the roots of the operating system, in the classic agent's order.</summary>
    private static readonly string[] SystemRoots =
    [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem", "/usr/local/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates",
    ];

    /// <summary>The files it is read from.</summary>
    public ImmutableArray<string> Files => Root is null ? [Chain!, Key!] : [Root];

    /// <summary>False for every other name, also for a malformed one: that must not become the workload's key.</summary>
    public static bool TryParse(string name, HostPaths root, [NotNullWhen(true)] out SecretFileName? parsed)
    {
        parsed = null;
        if (name.StartsWith(CertificatePrefix, StringComparison.Ordinal))
        {
            string[] parts = name[CertificatePrefix.Length..].Split('~');
            if (parts is [{ Length: > 0 } chain, { Length: > 0 } key]) { parsed = new SecretFileName(name, root.At(chain), root.At(key), null); }
        }
        else if (name.StartsWith(RootPrefix, StringComparison.Ordinal) && !name.Contains('~', StringComparison.Ordinal) && name.Length > RootPrefix.Length)
        {
            string file = name[RootPrefix.Length..];
            string? found = file == "system" ? SystemRoots.Select(root.At).FirstOrDefault(File.Exists) : root.At(file);
            if (found is not null) { parsed = new SecretFileName(name, null, null, found); }
        }
        return parsed is not null;
    }
}
