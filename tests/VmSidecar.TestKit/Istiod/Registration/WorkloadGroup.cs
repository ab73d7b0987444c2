using System.Collections.Immutable;

namespace VmSidecar.TestKit.Istiod.Registration;

/// <summary>A WorkloadGroup resource: what a VM may register as.</summary>
internal sealed record WorkloadGroup(string Namespace, string Name, string ServiceAccount)
{
    public ImmutableDictionary<string, string> TemplateLabels { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>spec.metadata.labels: over the template's.</summary>
    public ImmutableDictionary<string, string> MetadataLabels { get; init; } = ImmutableDictionary<string, string>.Empty;

    public string Network { get; init; } = "";
}
