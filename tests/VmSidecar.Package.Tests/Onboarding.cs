using VmSidecar.Package.Tests.Machines;

namespace VmSidecar.Package.Tests;

/// <summary>The steps of Istio's guide for a VM, as typed.</summary>
internal static class Onboarding
{
    /// <summary>Everything up to, but without, the start of the unit.</summary>
    public const string Sequence = """
        cd /root/files
        mkdir -p /etc/certs /var/run/secrets/tokens
        cp root-cert.pem /etc/certs/root-cert.pem
        cp istio-token /var/run/secrets/tokens/istio-token
        dpkg -i /root/vm-sidecar.deb
        cp cluster.env /var/lib/istio/envoy/cluster.env
        cp mesh.yaml /etc/istio/config/mesh
        cat hosts >> /etc/hosts
        mkdir -p /etc/istio/proxy
        chown -R istio-proxy /var/lib/istio /etc/certs /etc/istio/proxy /etc/istio/config /var/run/secrets /etc/certs/root-cert.pem
        """;

    public static Task<string> InstallAsync(Machine vm, CancellationToken stop, string package = "vm-sidecar.deb") =>
        vm.RunAsync(Sequence.Replace("vm-sidecar.deb", package, StringComparison.Ordinal), stop);
}
