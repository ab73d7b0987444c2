using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;

namespace VmSidecar.Xds;

/// <summary>What every stream of the relay shares. Built once by <see cref="XdsProxy"/>.</summary>
internal sealed record XdsContext(XdsOptions Options, XdsLinks Links, IIstiodDialer Istiod, TimeProvider Time, ILogger Log)
{
    public required XdsTap Tap { get; init; }
    public required XdsMetrics Metrics { get; init; }
    public required RefusalReporter Refusals { get; init; }
    public required ResourceKeeper Keeper { get; init; }
    public required OfflineStart Offline { get; init; }
    public required MendLog Mends { get; init; }

    /// <summary>Fetches Wasm modules; null: filters stay as istiod sends them.</summary>
    public WasmConverter? Wasm { get; init; }

    /// <summary>How large responses pass.</summary>
    public CutThrough CutThrough { get; } = new(Options.LargeMessage);
}
