using VmSidecar.Metrics;

namespace VmSidecar.Wasm;

/// <summary>Metrics of module fetching, under the classic agent's names; all present from zero.</summary>
internal sealed class WasmMetrics(MetricRegistry registry)
{
    private const string Fetches = "wasm_remote_fetch_count", FetchHelp = "number of Wasm remote fetches and results, including success, download failure, and checksum mismatch.";

    public Gauge Entries { get; } = registry.Gauge("wasm_cache_entries", "number of Wasm remote fetch cache entries.");
    public Counter Hits { get; } = Lookups(registry, "true");
    public Counter Misses { get; } = Lookups(registry, "false");
    public Counter Fetched { get; } = registry.Counter(Fetches, FetchHelp, "result=\"success\"");

    /// <summary>The counter of a failure.</summary>
    public Counter Failed(ModuleFailure failure) => registry.Counter(Fetches, FetchHelp, failure switch
    {
        ModuleFailure.Checksum => "result=\"checksum_mismatched\"",
        ModuleFailure.Manifest => "result=\"manifest_failure\"",
        _ => "result=\"download_failure\"",
    });

    private static Counter Lookups(MetricRegistry registry, string hit) =>
        registry.Counter("wasm_cache_lookup_count", "number of Wasm remote fetch cache lookups.", $"hit=\"{hit}\"");
}
