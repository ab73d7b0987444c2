namespace VmSidecar.Dns;

/// <summary>Holds the current <see cref="DnsSnapshot"/>. Writers (name table, virtual IPs, resolv.conf) replace one part under a lock; readers take the whole without one.</summary>
internal sealed class DnsState
{
    private readonly Lock _gate = new();
    private volatile DnsSnapshot _current;

    public DnsState(NameScope scope)
    {
        Scope = scope;
        _current = new(NameTable.Empty(scope), NameTable.Empty(scope), VipsOnlyWhereUnknown: true, [], Ports);
    }

    public NameScope Scope { get; }

    /// <summary>Written as clusters pass.</summary>
    public ServicePorts Ports { get; } = new();

    public DnsSnapshot Current => _current;

    public void UseNames(NameTable names) { lock (_gate) { _current = _current with { Names = names }; } }

    public void UseVips(NameTable vips, bool onlyWhereUnknown) { lock (_gate) { _current = _current with { Vips = vips, VipsOnlyWhereUnknown = onlyWhereUnknown }; } }

    /// <summary>1.10 looks at the first search domain only.</summary>
    public void UseSearch(byte[][] search) { lock (_gate) { _current = _current with { Search = Scope.Compat110 ? [.. search.Take(1)] : search }; } }
}
