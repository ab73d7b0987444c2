namespace VmSidecar.Xds;

/// <summary>What Envoy is served from while istiod cannot be reached at boot.</summary>
/// <param name="Seen">When istiod was last known to stand behind it.</param>
/// <param name="Types">By type URL.</param>
internal sealed record OfflineResources(DateTimeOffset Seen, IReadOnlyDictionary<string, KeptResources> Types);
