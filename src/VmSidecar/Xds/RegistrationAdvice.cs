using VmSidecar.Grpc;

namespace VmSidecar.Xds;

/// <summary>Turns istiod's words about registration (reference 03 §8.4) into what an operator can do. Pure.</summary>
internal static class RegistrationAdvice
{
    private static readonly (string Words, string Fix)[] Fixes =
    [
        ("cannot find WorkloadGroup", "Apply that WorkloadGroup in the cluster (istioctl x workload group create, kubectl apply), or correct ISTIO_META_AUTO_REGISTER_GROUP and POD_NAMESPACE in cluster.env"),
        ("requires a verified identity", "istiod registers VMs over TLS only: use its port 15012 and remove controlPlaneAuthPolicy NONE (ISTIO_CP_AUTH)"),
        ("namespace mismatch", "POD_NAMESPACE in cluster.env must be the namespace of the WorkloadGroup and of the token's service account"),
        ("service account mismatch", "SERVICE_ACCOUNT in cluster.env must be the one of the WorkloadGroup and of the token"),
        ("must correspond to an existing WorkloadEntry", "Apply that WorkloadEntry in the cluster, or remove ISTIO_META_WORKLOAD_ENTRY"),
        ("error creating WorkloadEntry", "Look at istiod's log and its right to create WorkloadEntries; istiod before 1.13 cannot name one after an IPv6 address: put an IPv4 address first (INSTANCE_IP)"),
        ("auto-registration", "Look at istiod's log, and at ISTIO_META_AUTO_REGISTER_GROUP in cluster.env"),
    ];

    /// <summary>What istiod said and what to do; null when it is not about registration.</summary>
    public static string? For(GrpcStatus status) =>
        Array.Find(Fixes, f => status.Message.Contains(f.Words, StringComparison.Ordinal)) is { Words: not null } found ? $"{status.Message}. {found.Fix}" : null;
}
