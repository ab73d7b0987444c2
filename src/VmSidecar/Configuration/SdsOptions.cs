using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Sds/</c>.</summary>
/// <param name="Sockets">Unix sockets to serve on: the current path and, for Envoys configured by 1.10 bootstraps, the old one.</param>
/// <param name="CrlFile">CRL referenced in root secrets when the file exists; null: off.</param>
/// <param name="Root">File names of <c>file-cert:</c>/<c>file-root:</c> resources are taken below this root.</param>
internal sealed record SdsOptions(ImmutableArray<string> Sockets, string? CrlFile, HostPaths Root)
{
    /// <summary>WORKLOAD_IDENTITY_SOCKET_FILE names another file than <c>socket</c>: an external SDS must be there.</summary>
    public bool DemandsExternal { get; init; }

    /// <summary>False: an external SDS has <c>default</c> and <c>ROOTCA</c>; only files are served here.</summary>
    public bool ServesWorkload { get; init; } = true;

    /// <summary>uids that may ask, besides root and this agent's own; null: every local user.</summary>
    public ImmutableArray<uint>? Peers { get; init; }

    /// <summary>Whether a user may ask. Root may always, it reads the key anyway; so may the agent's own user, which Envoy runs as.</summary>
    public bool Allows(uint user, uint own) => Peers is not { } peers || user == 0 || user == own || peers.Contains(user);

    /// <summary>How Envoy is to use private keys; null: by itself.</summary>
    public KeyProviderOptions? KeyProvider { get; init; }
}
