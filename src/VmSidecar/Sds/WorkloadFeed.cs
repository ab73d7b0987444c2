using VmSidecar.Identity;
using VmSidecar.Lifecycle;

namespace VmSidecar.Sds;

/// <summary>The workload's own resources, <c>default</c> and <c>ROOTCA</c>, as the rotator publishes them.</summary>
internal sealed class WorkloadFeed(Published<WorkloadSecrets> secrets, Published<IdentityStatus> status, bool roots) : ISecretFeed
{
    public string Problem => status.Current is { LastError.Length: > 0 } now
        ? $"failed to generate workload certificate: create certificate: {now.LastError}"
        : "failed to generate workload certificate: no answer from the CA yet";

    public (SecretValue? Value, Task Changed) Watch()
    {
        (WorkloadSecrets? held, Task changed) = secrets.Watch();
        if (held is null) { return (null, changed); }
        return (roots ? SecretValue.Anchors(held.RootsPem, held.NotAfter) : SecretValue.Certificate(held.ChainPem, held.KeyPem, held.NotAfter), changed);
    }
}
