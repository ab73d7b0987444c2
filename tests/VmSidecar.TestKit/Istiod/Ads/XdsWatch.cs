namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>What one stream has subscribed of one type. Touched by its stream's loop only; the view is a copy.</summary>
internal sealed class XdsWatch(string type)
{
    public string Type { get; } = type;

    /// <summary>Subscribed names; of a wildcard type in delta also the names sent.</summary>
    public HashSet<string> Names { get; set; } = new(StringComparer.Ordinal);

    /// <summary>Delta: subscribed to everything.</summary>
    public bool Wildcard { get; set; }

    public string NonceSent { get; set; } = "";
    public string NonceAcked { get; set; } = "";
    public string LastError { get; set; } = "";

    /// <summary>The next request is answered even if it looks like an ACK: EDS was there before CDS, and Envoy waits for it.</summary>
    public bool AnswersNext { get; set; }

    public XdsTypeView View() => new(
        XdsTypes.Short(Type), [.. Names.Order(StringComparer.Ordinal)], NonceSent, NonceAcked, LastError,
        NonceSent.Length == 0 ? SyncState.NotSent : LastError.Length > 0 ? SyncState.Error : NonceSent == NonceAcked ? SyncState.Synced : SyncState.Stale);
}

/// <summary>One type of a stream as syncz shows it.</summary>
internal sealed record XdsTypeView(string Type, IReadOnlyList<string> Names, string NonceSent, string NonceAcked, string LastError, SyncState State);

/// <summary>States of syncz.</summary>
internal enum SyncState
{
    NotSent,
    Synced,
    Stale,
    Error,
}
