namespace VmSidecar.Dns;

/// <summary>
/// Holds the current <see cref="DnsSnapshot"/>. Writers (name table, virtual IPs, resolv.conf) replace one part under a lock; readers use the whole without one
/// (<see cref="Use"/>). A table that was replaced is freed when the last who reads it is done.
/// </summary>
internal sealed class DnsState
{
    private readonly Lock _gate = new();
    private volatile LiveSnapshot _current;

    public DnsState(NameScope scope)
    {
        Scope = scope;
        _current = new(new(NameTable.Empty(scope), NameTable.Empty(scope), VipsOnlyWhereUnknown: true, [], Ports));
    }

    public NameScope Scope { get; }

    /// <summary>Written as clusters pass.</summary>
    public ServicePorts Ports { get; } = new();

    /// <summary>The snapshot, whose tables stay until the use is disposed of.</summary>
    public SnapshotUse Use()
    {
        while (true) // a second time only when another snapshot took its place in between
        {
            LiveSnapshot current = _current;
            if (current.TryEnter()) { return new(current); }
        }
    }

    /// <summary>Takes the table over.</summary>
    public void UseNames(NameTable names)
    {
        lock (_gate)
        {
            Keep(_current.Snapshot.Vips);
            Replace(_current.Snapshot with { Names = names });
        }
    }

    /// <summary>Takes the table over.</summary>
    public void UseVips(NameTable vips, bool onlyWhereUnknown)
    {
        lock (_gate)
        {
            Keep(_current.Snapshot.Names);
            Replace(_current.Snapshot with { Vips = vips, VipsOnlyWhereUnknown = onlyWhereUnknown });
        }
    }

    /// <summary>1.10 looks at the first search domain only.</summary>
    public void UseSearch(byte[][] search)
    {
        lock (_gate)
        {
            Keep(_current.Snapshot.Names);
            Keep(_current.Snapshot.Vips);
            Replace(_current.Snapshot with { Search = Scope.Compat110 ? [.. search.Take(1)] : search });
        }
    }

    /// <summary>The next snapshot uses it too. It cannot be gone: the current one uses it, and that is current for as long as we hold the lock.</summary>
    private static void Keep(NameTable table) => table.TryEnter();

    private void Replace(DnsSnapshot next)
    {
        LiveSnapshot old = _current;
        _current = new(next);
        old.Leave();
    }
}

/// <summary>A snapshot and who uses it. It is one user of each of its tables.</summary>
internal sealed class LiveSnapshot(DnsSnapshot snapshot) : Counted
{
    public DnsSnapshot Snapshot => snapshot;

    protected override void Free()
    {
        snapshot.Names.Leave();
        snapshot.Vips.Leave();
    }
}

/// <summary>The use of a snapshot by one reader: short, as the tables it stands for are freed only after it.</summary>
internal readonly ref struct SnapshotUse(LiveSnapshot live) : IDisposable
{
    public DnsSnapshot Snapshot => live.Snapshot;

    public void Dispose() => live.LeaveQuickly();
}
