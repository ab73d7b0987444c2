using System.Collections.Immutable;

using Google.Protobuf.WellKnownTypes;

namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>One response, of either protocol, as the resource sets take it. IsFull: state of the world, what is not in it is gone (CDS and LDS only).</summary>
internal sealed record Update(string TypeUrl, string Version, string Nonce, bool IsFull, ImmutableArray<(string Name, Any Resource)> Resources, ImmutableArray<string> Removed);
