namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>When istiod answers a state-of-the-world request, in its order of evaluation (reference: contract for a fake istiod).</summary>
internal static class SotwRules
{
    /// <summary>Applies a request to the stream's subscriptions and says what it gets. Health and crashes are dealt with before.</summary>
    public static XdsAnswer Decide(StreamWatches watches, XdsAsk ask, IstiodVersion version)
    {
        XdsWatch? watch = watches.Find(ask.Type);
        bool wildcard = XdsTypes.IsWildcard(ask.Type);
        if (ask.Error is not null) // 2. a rejection: remembered, never resent
        {
            watches.Change(() => watch!.LastError = ask.Error.Length > 0 ? ask.Error : "rejected");
            return XdsAnswer.Silence;
        }
        if (!wildcard && ask.Names.Count == 0) // 3. nothing wanted any more
        {
            watches.Unsubscribe(ask.Type);
            return XdsAnswer.Silence;
        }
        if (ask.Nonce.Length == 0 || watch is null) // 4. first on this stream, or from before it
        {
            watches.Subscribe(ask.Type, ask.Names);
            MarkEndpoints(watches, ask.Type, version);
            return XdsAnswer.Everything;
        }
        if (ask.Nonce != watch.NonceSent) { return XdsAnswer.Silence; } // 5. answers something older
        return Acknowledge(watches, watch, ask, version);
    }

    /// <summary>6. The nonce matches: an ACK, perhaps with other names.</summary>
    private static XdsAnswer Acknowledge(StreamWatches watches, XdsWatch watch, XdsAsk ask, IstiodVersion version)
    {
        List<string> added = [.. ask.Names.Where(n => !watch.Names.Contains(n))];
        bool removed = watch.Names.Any(n => !ask.Names.Contains(n));
        bool owed = watch.AnswersNext;
        watches.Change(() =>
        {
            watch.NonceAcked = ask.Nonce;
            watch.LastError = "";
            watch.AnswersNext = false;
            watch.Names = new(ask.Names, StringComparer.Ordinal);
        });
        if (owed) { return XdsAnswer.Everything; }
        if (added.Count == 0 && !removed) { return XdsAnswer.Silence; }
        if (version == IstiodVersion.V1_10 || XdsTypes.IsWildcard(ask.Type)) { return XdsAnswer.Everything; }
        return added.Count == 0 ? XdsAnswer.Silence : new XdsAnswer(true, added);
    }

    /// <summary>EDS that was subscribed before CDS waits for the clusters to warm: its next request is answered.</summary>
    private static void MarkEndpoints(StreamWatches watches, string type, IstiodVersion version)
    {
        if (type == XdsTypes.Cluster && version != IstiodVersion.V1_10 && watches.Find(XdsTypes.Endpoint) is { } endpoints)
        {
            watches.Change(() => endpoints.AnswersNext = true);
        }
    }
}
