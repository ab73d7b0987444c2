using System.Collections.Immutable;

namespace VmSidecar.TestKit.Istiod.Registration;

/// <summary>An auto-registered WorkloadEntry as `kubectl get` would show it. Immutable; the registry replaces it.</summary>
internal sealed record WorkloadEntry(string Namespace, string Name, string Address)
{
    public required string Group { get; init; }
    public required string ServiceAccount { get; init; }
    public string Network { get; init; } = "";
    public string Locality { get; init; } = "";
    public required ImmutableDictionary<string, string> Labels { get; init; }
    public required ImmutableDictionary<string, string> Annotations { get; init; }

    /// <summary>Condition Healthy; null: there is none.</summary>
    public HealthCondition? Healthy { get; init; }

    /// <summary>Offered as an endpoint: without health checking always, with it only while the condition is True.</summary>
    public bool IsOffered => !Annotations.ContainsKey(WorkloadAnnotations.HealthChecks) || Healthy is { Status: true };

    /// <summary>Some stream of the VM is up.</summary>
    public bool IsConnected => Annotations.ContainsKey(WorkloadAnnotations.ConnectedAt);
}

/// <summary>Condition Healthy of a WorkloadEntry. <paramref name="At"/> is istiod's time of receipt.</summary>
internal sealed record HealthCondition(bool Status, string Message, DateTimeOffset At);

/// <summary>Annotations istiod writes.</summary>
internal static class WorkloadAnnotations
{
    public const string Group = "istio.io/autoRegistrationGroup";
    public const string Controller = "istio.io/workloadController";
    public const string ConnectedAt = "istio.io/connectedAt";
    public const string DisconnectedAt = "istio.io/disconnectedAt";
    public const string HealthChecks = "proxy.istio.io/health-checks-enabled";
}
