using System.Text.Json.Nodes;

namespace VmSidecar.Status;

/// <summary>What the status server does through others. Wired by SidecarApp.</summary>
internal sealed record StatusHooks
{
    /// <summary>The DNS name table as JSON text for <c>/debug/ndsz</c>; null: no table yet.</summary>
    public Func<string?> Names { get; init; } = () => null;

    /// <summary>What DNS knows of a name and a record type, for <c>/debug/dnsz</c>; null: these are none, or there is no DNS.</summary>
    public Func<string, string, CancellationToken, Task<JsonObject?>> Name { get; init; } = (_, _, _) => Task.FromResult<JsonObject?>(null);

    /// <summary>The whole state for <c>vmsidecar status</c>; called per request, builds a fresh object.</summary>
    public Func<JsonObject> Snapshot { get; init; } = () => [];

    /// <summary>State per xDS type on the current stream, for <c>/debug/syncz</c>.</summary>
    public Func<JsonObject> Sync { get; init; } = () => [];

    /// <summary>The configuration Envoy accepted, by type and name, for <c>/debug/config_dump</c>.</summary>
    public Func<JsonObject> Config { get; init; } = () => [];

    /// <summary>One resource of it by type and name, an encoded Any; null: there is none.</summary>
    public Func<string, string, byte[]?> Resource { get; init; } = (_, _) => null;

    /// <summary>Ask Envoy to drain; null when done, else the problem.</summary>
    public Func<CancellationToken, Task<string?>> Drain { get; init; } = _ => Task.FromResult<string?>(null);

    /// <summary>Stop the agent without a drain (<c>/quitquitquit</c>).</summary>
    public Action Quit { get; init; } = () => { };
}
