using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Wasm/</c>: how modules that a filter names by address are fetched and kept.</summary>
internal sealed record WasmOptions
{
    /// <summary>ISTIO_AGENT_ENABLE_WASM_REMOTE_LOAD_CONVERSION: false leaves the filters as istiod sends them.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>Where modules are kept.</summary>
    public required string Directory { get; init; }

    /// <summary>WASM_HTTP_REQUEST_TIMEOUT, for one attempt.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>WASM_HTTP_REQUEST_MAX_RETRIES: attempts in all.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>WASM_PURGE_INTERVAL.</summary>
    public TimeSpan PurgeInterval { get; init; } = TimeSpan.FromHours(1);

    /// <summary>WASM_MODULE_EXPIRY: a module that nothing uses for so long is deleted.</summary>
    public TimeSpan Expiry { get; init; } = TimeSpan.FromHours(24);

    /// <summary>ISTIO_WASM_MAX_BINARY_SIZE_BYTES: largest module, and largest download.</summary>
    public long MaxBytes { get; init; } = 256L * 1024 * 1024;

    /// <summary>WASM_INSECURE_REGISTRIES: hosts whose certificate is not checked, and which may speak plain HTTP; <c>*</c> means all.</summary>
    public ImmutableArray<string> InsecureRegistries { get; init; } = [];

    /// <summary>BLOCKED_CIDRS_IN_WASM_FETCH, besides link-local and cloud metadata addresses: never connected to.</summary>
    public ImmutableArray<IPNetwork> Blocked { get; init; } = [];
}
