using System.Collections.Immutable;

using Microsoft.Extensions.Logging;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Logging/</c>.</summary>
/// <param name="File">The log file (appended), or null for standard output only.</param>
/// <param name="Json">--log_as_json.</param>
/// <param name="DefaultLevel">Level of scopes without an own entry.</param>
/// <param name="Scopes">Level by scope (<c>default</c>, <c>xdsproxy</c>, <c>sds</c>, <c>cache</c>, <c>dns</c>...).</param>
/// <param name="Console">Also write to standard output.</param>
internal sealed record LogOptions(string? File, bool Json, LogLevel DefaultLevel, ImmutableArray<KeyValuePair<string, LogLevel>> Scopes, bool Console);
