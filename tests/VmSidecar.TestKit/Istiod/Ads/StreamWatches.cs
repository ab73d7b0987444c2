using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>
/// The subscriptions of one stream, and what a peer must never do on it. A violation is recorded where the real istiod would
/// be confused or crash; tests assert that there is none. Touched by the stream's loop, read by views.
/// </summary>
internal sealed class StreamWatches(Action<string> violation)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, XdsWatch> _watches = new(StringComparer.Ordinal);
    private readonly HashSet<string> _ever = new(StringComparer.Ordinal);
    private readonly HashSet<string> _nonces = new(StringComparer.Ordinal);

    public XdsWatch? Find(string type) { lock (_gate) { return _watches.GetValueOrDefault(type); } }

    /// <summary>Subscribed types in the order of a push.</summary>
    public IReadOnlyList<XdsWatch> InPushOrder { get { lock (_gate) { return [.. _watches.Values.OrderBy(w => XdsTypes.PushOrder(w.Type))]; } } }

    public IReadOnlyList<XdsTypeView> Views { get { lock (_gate) { return [.. _watches.Values.Select(w => w.View())]; } } }

    public XdsWatch Subscribe(string type, IEnumerable<string> names, bool wildcard = false)
    {
        lock (_gate)
        {
            _ever.Add(type);
            return _watches[type] = new XdsWatch(type) { Names = new(names, StringComparer.Ordinal), Wildcard = wildcard };
        }
    }

    public void Unsubscribe(string type) { lock (_gate) { _watches.Remove(type); } }

    /// <summary>A view may run at the same time.</summary>
    public void Change(Action change) { lock (_gate) { change(); } }

    public void Sent(XdsWatch watch, string nonce)
    {
        lock (_gate)
        {
            watch.NonceSent = nonce;
            _nonces.Add(nonce);
        }
    }

    /// <summary>Looks for what must never come. Not null: the real istiod has crashed here (it dereferences a missing record).</summary>
    public GrpcStatus? Check(XdsAsk ask)
    {
        string type = XdsTypes.Short(ask.Type);
        if (ask.Type.Length == 0) { violation("request without type_url"); }
        if (ask.Nonce.Length > 0 && !_nonces.Contains(ask.Nonce)) { violation($"{type}: nonce {ask.Nonce} was never sent on this stream"); }
        if (ask.Nonce.Length > 0 && !_ever.Contains(ask.Type)) { violation($"{type}: ACK or NACK of a type never subscribed on this stream"); }
        if (ask.Error is null || ask.Type == XdsTypes.Health || Find(ask.Type) is not null) { return null; }
        violation($"{type}: NACK without a subscription crashes istiod");
        return new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing");
    }
}
