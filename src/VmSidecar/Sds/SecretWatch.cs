namespace VmSidecar.Sds;

/// <summary>What one stream subscribes to, what it was last sent, and what it is owed. Used by its session's loop only; not thread-safe.</summary>
internal sealed class SecretWatch(SecretCatalog catalog)
{
    private readonly Dictionary<string, Subscription> _names = new(StringComparer.Ordinal);
    private readonly List<string> _owed = [];
    private Task? _changed;

    /// <summary>Names subscribed to.</summary>
    public IReadOnlyCollection<string> Names => _names.Keys;

    /// <summary>True when an answer is due that has not been given.</summary>
    public bool IsOwing => _owed.Count > 0;

    /// <summary>The first owed name without a value, and why it has none.</summary>
    public (string Name, string Problem)? Lacking => _owed
        .Where(n => _names[n].Feed.Watch().Value is null)
        .Select(n => ((string, string)?)(n, _names[n].Feed.Problem))
        .FirstOrDefault();

    /// <summary>Subscribes and owes an answer. False when there is no such secret.</summary>
    public bool TryAdd(string name)
    {
        if (!_names.TryGetValue(name, out Subscription? known))
        {
            if (!catalog.TryOpen(name, out ISecretFeed? feed)) { return false; }
            _names[name] = known = new Subscription(feed);
        }
        (known.Sent, _changed) = (null, null);
        if (!_owed.Contains(name)) { _owed.Add(name); }
        return true;
    }

    /// <summary>Ends a subscription; unknown names do no harm.</summary>
    public void Remove(string name)
    {
        _owed.Remove(name);
        _changed = null;
        if (_names.Remove(name, out Subscription? gone)) { (gone.Feed as IDisposable)?.Dispose(); }
    }

    /// <summary>Ends all.</summary>
    public void Clear()
    {
        foreach (string name in _names.Keys.ToArray()) { Remove(name); }
    }

    /// <summary>Tells the client has this value already (delta, after a reconnect).</summary>
    public void AlreadyHas(string name, Func<SecretValue, bool> same)
    {
        if (_names.TryGetValue(name, out Subscription? known) && known.Feed.Watch().Value is { } value && same(value))
        {
            (known.Sent, known.SentCrl) = (value, catalog.Crl.Stamp);
            _owed.Remove(name);
        }
    }

    /// <summary>
    /// The next response: everything owed, in the order asked for, once all of it is there; else one changed resource, as pushes carry one
    /// each. Empty when there is nothing to send.
    /// </summary>
    public IReadOnlyList<(string Name, SecretValue Value)> Next()
    {
        List<(string Name, SecretValue Value)> ready = [];
        foreach (string name in _owed)
        {
            if (_names[name].Feed.Watch().Value is { } value) { ready.Add((name, value)); }
        }
        if (ready.Count > 0 && ready.Count == _owed.Count) { _owed.Clear(); }
        else { ready = [.. Changes().Take(1)]; }
        foreach ((string name, SecretValue value) in ready) { (_names[name].Sent, _names[name].SentCrl) = (value, catalog.Crl.Stamp); }
        return ready;
    }

    private IEnumerable<(string Name, SecretValue Value)> Changes() =>
        from pair in _names
        where !_owed.Contains(pair.Key)
        let value = pair.Value.Feed.Watch().Value
        where value is not null && (!value.SameContent(pair.Value.Sent) || (value.RootsPem is not null && pair.Value.SentCrl != catalog.Crl.Stamp))
        select (pair.Key, value);

    /// <summary>Ends when any subscribed value may have changed. Taken before <see cref="Next"/> is asked, so that no change falls between.</summary>
    public Task Changed()
    {
        // One wait at a time: a client that only talks must not heap up waits on values that do not change.
        if (_changed is null || _changed.IsCompleted) { _changed = Any(); }
        return _changed;
    }

    private Task<Task> Any() => Task.WhenAny(_names.Values.Select(s => s.Feed.Watch().Changed).Append(catalog.CrlChanged()));

    private sealed class Subscription(ISecretFeed feed)
    {
        public ISecretFeed Feed => feed;

        public SecretValue? Sent { get; set; }

        /// <summary>Stamp of the CRL that went with it.</summary>
        public string SentCrl { get; set; } = "";
    }
}
