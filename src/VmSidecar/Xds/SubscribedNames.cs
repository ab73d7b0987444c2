using System.Collections.Immutable;
using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The names one type is subscribed to on one stream, for the debug pages. Bounded: of a large mesh only the first are kept, and that is said. Guarded by its ledger.</summary>
internal sealed class SubscribedNames
{
    /// <summary>Names kept per type: enough to look one up in a usual mesh, 100 KB at most in a large one.</summary>
    public const int Most = 1000;

    private readonly SortedSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>Some names were left out.</summary>
    public bool IsCut { get; private set; }

    /// <summary>The names, in order.</summary>
    public ImmutableArray<string> All => [.. _names];

    /// <summary>Applies a request. State of the world says all names each time (resource_names 3); delta adds (subscribe 3) and takes away (unsubscribe 4).</summary>
    public void Apply(XdsEnvelope request, ReadOnlySpan<byte> message)
    {
        bool delta = request.Kind == XdsMessageKind.DeltaRequest;
        if (request.Names == 0 && request.Removed == 0 && (delta || request.Nonce.Length > 0 && _names.Count == 0)) { return; }
        if (!delta)
        {
            _names.Clear();
            IsCut = false;
        }
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Is(3))
            {
                if (_names.Count < Most) { _names.Add(Encoding.UTF8.GetString(reader.Bytes)); } else { IsCut = true; }
            }
            else if (delta && reader.Is(4)) { _names.Remove(Encoding.UTF8.GetString(reader.Bytes)); }
        }
    }
}
