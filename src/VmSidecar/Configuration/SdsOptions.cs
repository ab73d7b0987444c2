using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Sds/</c>.</summary>
/// <param name="Sockets">Unix sockets to serve on: the current path and, for Envoys configured by 1.10 bootstraps, the old one.</param>
/// <param name="CrlFile">CRL referenced in root secrets when the file exists; null: off.</param>
/// <param name="Root">File names of <c>file-cert:</c>/<c>file-root:</c> resources are taken below this root.</param>
internal sealed record SdsOptions(ImmutableArray<string> Sockets, string? CrlFile, HostPaths Root)
{
    /// <summary>How Envoy is to use private keys; null: by itself.</summary>
    public KeyProviderOptions? KeyProvider { get; init; }
}
