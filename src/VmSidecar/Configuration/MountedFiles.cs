namespace VmSidecar.Configuration;

/// <summary>Where certificates are that somebody else issues and renews.</summary>
internal sealed record MountedFiles(string Chain, string Key, string Roots)
{
    /// <summary>The classic three names in one folder.</summary>
    public static MountedFiles In(string folder) => new(Path.Combine(folder, "cert-chain.pem"), Path.Combine(folder, "key.pem"), Path.Combine(folder, "root-cert.pem"));

    /// <summary>The three names of GKE's workload certificates.</summary>
    public static MountedFiles OfGke(string folder) => new(Path.Combine(folder, "certificates.pem"), Path.Combine(folder, "private_key.pem"), Path.Combine(folder, "ca_certificates.pem"));

    /// <summary>True when all three are there.</summary>
    public bool Exist => File.Exists(Chain) && File.Exists(Key) && File.Exists(Roots);
}
