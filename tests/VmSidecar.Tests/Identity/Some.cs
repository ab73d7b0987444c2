using VmSidecar.Configuration;

namespace VmSidecar.Tests.Identity;

/// <summary>Options and names the identity tests share.</summary>
internal static class Some
{
    public const string Namespace = "vm-ns";
    public const string Account = "vm-sa";
    public const string Id = "spiffe://cluster.local/ns/vm-ns/sa/vm-sa";

    /// <summary>A VM as installed: token, PROV_CERT and OUTPUT_CERTS in one folder. P-256, so that tests do not wait for RSA keys.</summary>
    public static IdentityOptions Options(Folder folder, string ca = "127.0.0.1:1") => new()
    {
        CaAddress = ca,
        CaServerName = "istiod.istio-system.svc",
        CaRootFile = folder.At("root-cert.pem"),
        XdsRootFile = folder.At("root-cert.pem"),
        ProvisionedDirectory = folder.Path,
        OutputDirectory = folder.Path,
        TokenFile = folder.At("istio-token"),
        TrustDomain = "cluster.local",
        Namespace = Namespace,
        ServiceAccount = Account,
        ClusterId = "Kubernetes",
        Algorithm = KeyAlgorithm.EcdsaP256,
        StateDirectory = folder.At("state"),
        GraceJitter = 0,
    };

    public static XdsOptions Xds(string istiod) => new()
    {
        Socket = "/nowhere/XDS",
        DiscoveryAddress = istiod,
        ServerName = "istiod.istio-system.svc",
        StateDirectory = "/nowhere",
        Node = new NodeOptions("sidecar~127.0.0.1~vm1.vm-ns~vm-ns.svc.cluster.local", "vm", "", "", "", [], ["127.0.0.1"]),
    };
}
