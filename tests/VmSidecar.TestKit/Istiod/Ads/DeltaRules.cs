namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>When istiod answers an incremental request.</summary>
internal static class DeltaRules
{
    /// <summary>Applies a request to the stream's subscriptions and says what it gets.</summary>
    public static XdsAnswer Decide(StreamWatches watches, XdsAsk ask)
    {
        XdsWatch? watch = watches.Find(ask.Type);
        if (ask.Error is not null)
        {
            watches.Change(() => watch!.LastError = ask.Error.Length > 0 ? ask.Error : "rejected");
            return XdsAnswer.Silence;
        }
        if (watch is null) // the first of a type: always answered
        {
            (HashSet<string> first, bool wildcard) = Apply([], ask);
            watches.Subscribe(ask.Type, first, wildcard);
            return XdsAnswer.Everything;
        }
        if (ask.Nonce.Length > 0 && ask.Nonce != watch.NonceSent) { return XdsAnswer.Silence; } // answers something older
        (HashSet<string> now, _) = Apply(watch.Names, ask);
        bool changed = !now.SetEquals(watch.Names);
        watches.Change(() =>
        {
            watch.Names = now;
            if (ask.Nonce.Length == 0) { return; }
            watch.NonceAcked = ask.Nonce;
            watch.LastError = "";
        });
        return !changed ? XdsAnswer.Silence : new XdsAnswer(true, watch.Wildcard ? null : [.. ask.Names]);
    }

    /// <summary>Names wanted after a request: subscribed, held from before, minus unsubscribed. Nothing subscribed means everything.</summary>
    private static (HashSet<string> Names, bool Wildcard) Apply(IEnumerable<string> before, XdsAsk ask)
    {
        HashSet<string> names = new(before, StringComparer.Ordinal);
        names.UnionWith(ask.Names);
        names.UnionWith(ask.Held);
        names.ExceptWith(ask.Unsubscribed);
        return (names, names.Remove("*") || ask.Names.Count == 0);
    }
}
