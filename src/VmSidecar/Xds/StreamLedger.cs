using System.Collections.Immutable;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>What went over one stream, per type: last version, nonce, answer. Written by the stream's loops, read by status. One per stream.</summary>
internal sealed class StreamLedger(TimeProvider time)
{
    // istiod sends a dozen types; the bound keeps a hostile peer from growing the table. Later types pass uncounted.
    private const int MostTypes = 64;

    private readonly Lock _gate = new();
    private readonly List<XdsTypeStatus> _types = [];
    private readonly Dictionary<string, SubscribedNames> _names = new(StringComparer.Ordinal); // at most MostTypes

    /// <summary>Notes a request on its way to istiod. True when it refuses a response and did not before.</summary>
    public bool Asked(XdsEnvelope request) => Change(request.TypeUrl, old =>
    {
        XdsTypeStatus now = old with { Requests = old.Requests + 1 };
        if (request.Nonce.Length == 0 || request.Nonce != old.Nonce) { return now; }
        return now with { Ack = request.HasError ? XdsAck.Refused : XdsAck.Accepted, Error = request.ErrorMessage };
    });

    /// <summary>Notes the names of a request; after <see cref="Asked"/>.</summary>
    public void Named(XdsEnvelope request, ReadOnlySpan<byte> message)
    {
        lock (_gate)
        {
            if (!_names.TryGetValue(request.TypeUrl, out SubscribedNames? names))
            {
                if (_names.Count == MostTypes) { return; }
                _names[request.TypeUrl] = names = new SubscribedNames();
            }
            names.Apply(request, message);
        }
    }

    /// <summary>The names a type is subscribed to, and whether some were left out.</summary>
    public (ImmutableArray<string> Names, bool IsCut) NamesOf(string typeUrl)
    {
        lock (_gate) { return _names.TryGetValue(typeUrl, out SubscribedNames? names) ? (names.All, names.IsCut) : ([], false); }
    }

    /// <summary>Notes a response from istiod.</summary>
    public void Answered(XdsEnvelope response) => Change(response.TypeUrl, old => old with
    {
        Version = response.Version,
        Nonce = response.Nonce,
        Ack = XdsAck.Waiting,
        Resources = response.Resources,
        Responses = old.Responses + 1,
        LastResponse = time.GetUtcNow(),
    });

    /// <summary>True when the peer has asked for this type on this stream.</summary>
    public bool WasAsked(string typeUrl)
    {
        lock (_gate) { return _types.Any(t => t.TypeUrl == typeUrl && t.Requests > 0); }
    }

    public ImmutableArray<XdsTypeStatus> Snapshot()
    {
        lock (_gate) { return [.. _types]; }
    }

    private bool Change(string typeUrl, Func<XdsTypeStatus, XdsTypeStatus> change)
    {
        lock (_gate)
        {
            int index = _types.FindIndex(t => t.TypeUrl == typeUrl);
            if (index < 0)
            {
                if (_types.Count == MostTypes) { return false; }
                index = _types.Count;
                _types.Add(new XdsTypeStatus(typeUrl, "", "", XdsAck.Waiting, "", 0, 0, 0, null));
            }
            XdsTypeStatus old = _types[index];
            _types[index] = change(old);
            return _types[index].Ack == XdsAck.Refused && _types[index].Error != old.Error;
        }
    }
}
