namespace VmSidecar.Configuration;

/// <summary>Every classic path, below one root folder (normally <c>/</c>). The one setting that relocates them all is <c>--root</c> / <c>VMSIDECAR_ROOT</c>.</summary>
internal sealed record HostPaths(string Root)
{
    public string ClusterEnv => At("var/lib/istio/envoy/cluster.env");
    public string SidecarEnv => At("var/lib/istio/envoy/sidecar.env");
    public string Mesh => At("etc/istio/config/mesh");
    public string ProxyDirectory => At("etc/istio/proxy");
    public string XdsSocket => At("etc/istio/proxy/XDS");
    public string LegacySdsSocket => At("etc/istio/proxy/SDS");
    public string WorkloadSdsSocket => At("var/run/secrets/workload-spiffe-uds/socket");
    public string FilesSdsSocket => At("var/run/secrets/credential-uds/files-socket"); // where an external SDS has the workload's
    public string CredentialSdsSocket => At("var/run/secrets/credential-uds/socket");
    public string Certificates => At("etc/certs");
    public string Token => At("var/run/secrets/tokens/istio-token");
    public string PersistentToken => At("var/lib/istio/tokens/istio-token"); // survives a reboot, unlike /var/run
    public string State => At("var/lib/istio/state");
    public string Data => At("var/lib/istio/data");
    public string LogDirectory => At("var/log/istio");
    public string ResolvConf => At("etc/resolv.conf");
    public string Hosts => At("etc/hosts");

    /// <summary>
    /// A path of the specification (absolute, or relative to the agent's working directory, which is the root) below <see cref="Root"/>.
    /// A zero byte, which no file name can hold, becomes U+FFFD: the file is then missing, and named so.
    /// </summary>
    public string At(string path) => Path.GetFullPath(Path.Combine(Root, path.Replace('\0', '\uFFFD').TrimStart('.').TrimStart('/')));
}
