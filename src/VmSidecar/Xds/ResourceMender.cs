using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Makes what istiod sends loadable for an Envoy that is not Istio's build: takes out filters of a closed list that this
/// Envoy did not list (<see cref="IstioFilters"/>), and gives a configuration to the two extensions that istiod 1.10 names
/// without one. Every other byte stays. Pure; one per Envoy stream. Field numbers: envoy.config.{listener,cluster,route}.v3,
/// HttpConnectionManager v3.
/// </summary>
internal sealed class ResourceMender(EnvoyExtensions envoy)
{
    private const string ConnectionManager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    private const string RawBuffer = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    private const string PreviousHosts = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    private const string Jwt = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    private const string Rbac = "envoy.extensions.filters.http.rbac.v3.RBAC";
    private const string UpstreamHttp = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    private MendReport _report = new(); // of the message at hand
    private bool _accessReadsAuthn;     // of the chain at hand

    /// <summary>A mender for this Envoy; null when there is nothing to mend: it is Istio's, or does not say what it has.</summary>
    public static ResourceMender? For(ReadOnlySpan<byte> node) => EnvoyExtensions.Read(node) is { IsIstios: false } extensions ? new ResourceMender(extensions) : null;

    /// <summary>Another for the same Envoy: two responses may be mended at the same time, each by its own.</summary>
    public ResourceMender Another() => new(envoy);

    /// <summary>Mends one response. Null when no byte changes.</summary>
    public byte[]? Mend(XdsEnvelope response, ReadOnlySpan<byte> message, out MendReport report)
    {
        FieldRewriter.Visit? resource = Begin(response.Kind, response.TypeUrl, out report);
        int field = XdsEnvelope.ResourcesField(response.Kind);
        return resource is null ? null : FieldRewriter.Walk(message, n => n == field ? resource : null).Of(message);
    }

    /// <summary>Begins a response whose resources come one by one: the result mends the content of each resource field, and fills the report. Null: nothing of this type is mended.</summary>
    public FieldRewriter.Visit? Begin(XdsMessageKind kind, string typeUrl, out MendReport report)
    {
        report = _report = new MendReport();
        if (ResourceVisit(typeUrl) is not { } visit) { return null; }
        FieldRewriter.Visit any = body => Typed(body, visit);
        return kind == XdsMessageKind.DeltaResponse ? body => Wrapped(body, any) : any;
    }

    private FieldRewriter.Visit? ResourceVisit(string typeUrl) => typeUrl switch
    {
        XdsTypeUrl.Listener => Listener,
        XdsTypeUrl.Cluster => Cluster,
        XdsTypeUrl.Routes => Routes,
        XdsTypeUrl.Extension => Extension,
        _ => null,
    };

    // google.protobuf.Any: value 2. What goes, goes with its Any.
    private static Rewritten Typed(ReadOnlySpan<byte> any, FieldRewriter.Visit visit) => Wrapped(any, visit);

    // Resource.resource and Any.value have the same number.
    private static Rewritten Wrapped(ReadOnlySpan<byte> outer, FieldRewriter.Visit visit)
    {
        bool gone = false;
        Rewritten walked = FieldRewriter.Walk(outer, n => n != 2 ? null : inner =>
        {
            Rewritten found = visit(inner);
            gone |= found.Kind == RewriteKind.Removed;
            return found;
        });
        return gone ? Rewritten.Removed : walked;
    }

    /// <summary>
    /// A filter that comes by discovery (TypedExtensionConfig: name 1, typed_config 2). One on the list goes: the listener that would wait
    /// for it has lost it too. A built-in Wasm plug-in of Istio's becomes a filter that lets all pass, because there the listener names Wasm, which Envoy has, and waits.
    /// </summary>
    private Rewritten Extension(ReadOnlySpan<byte> body)
    {
        FilterHead filter = FilterHead.Read(body, typedConfig: 2, discovery: 0);
        ReadOnlySpan<byte> config = ProtoField.Last(body, 2);
        if (!IstioFilters.IsBuiltInWasm(filter.Type, config)) { return ShouldGo(filter, config) ? Rewritten.Removed : Rewritten.Same; }
        _report.Remove(filter.Name);
        byte[] pass = WasmRewriter.Replacement(filter.Type == WasmConfig.NetworkType, allow: true);
        return FieldRewriter.Walk(body, n => n == 2 ? _ => Rewritten.Changed(pass) : null);
    }

    private Rewritten Listener(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n is 3 or 25 ? FilterChain : null);

    private Rewritten FilterChain(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        3 => NetworkFilter,
        6 => TransportSocket,
        _ => null,
    });

    private Rewritten NetworkFilter(ReadOnlySpan<byte> body)
    {
        FilterHead filter = FilterHead.Read(body, typedConfig: 4, discovery: 5);
        if (ShouldGo(filter, ProtoField.Last(body, 4))) { return Rewritten.Removed; }
        return filter.Type == ConnectionManager ? FieldRewriter.Walk(body, n => n == 4 ? any => Typed(any, Manager) : null) : Rewritten.Same;
    }

    private Rewritten Manager(ReadOnlySpan<byte> body)
    {
        _accessReadsAuthn = AccessReadsAuthn(body);
        return FieldRewriter.Walk(body, n => n switch
        {
            4 => Routes,
            5 => HttpFilter,
            _ => null,
        });
    }

    private Rewritten HttpFilter(ReadOnlySpan<byte> body) =>
        ShouldGo(FilterHead.Read(body, typedConfig: 4, discovery: 5), ProtoField.Last(body, 4)) ? Rewritten.Removed : Rewritten.Same;

    private Rewritten Cluster(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        24 => TransportSocket,
        36 => ProtocolOptions,
        40 => ClusterFilter,
        43 => match => FieldRewriter.Walk(match, m => m == 3 ? TransportSocket : null),
        _ => null,
    });

    private Rewritten ClusterFilter(ReadOnlySpan<byte> body) =>
        ShouldGo(FilterHead.Read(body, typedConfig: 2, discovery: 3), ProtoField.Last(body, 2)) ? Rewritten.Removed : Rewritten.Same;

    // typed_extension_protocol_options, a map of name 1 to Any 2; HttpProtocolOptions.http_filters 6 run on the way to the upstream.
    private Rewritten ProtocolOptions(ReadOnlySpan<byte> entry) => FilterHead.TypeOf(ProtoField.Last(entry, 2)) == UpstreamHttp
        ? FieldRewriter.Walk(entry, n => n == 2 ? any => Typed(any, options => FieldRewriter.Walk(options, m => m == 6 ? HttpFilter : null)) : null)
        : Rewritten.Same;

    // typed_per_filter_config, a map of filter name 1 to Any 2: what is set for a filter that is gone. istio_authn has none.
    private Rewritten PerFilter(ReadOnlySpan<byte> entry)
    {
        FilterHead filter = FilterHead.Read(entry, typedConfig: 2, discovery: 0);
        return filter.Type != IstioFilters.Authn && ShouldGo(filter, ProtoField.Last(entry, 2)) ? Rewritten.Removed : Rewritten.Same;
    }

    private Rewritten TransportSocket(ReadOnlySpan<byte> body) => Configured(body, "envoy.transport_sockets.raw_buffer", RawBuffer);

    private Rewritten Routes(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        2 => VirtualHost,
        16 => PerFilter,
        _ => null,
    });

    private Rewritten VirtualHost(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        3 => Route,
        15 => PerFilter,
        16 => RetryPolicy,
        _ => null,
    });

    private Rewritten Route(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        2 => action => FieldRewriter.Walk(action, a => a == 9 ? RetryPolicy : null),
        13 => PerFilter,
        _ => null,
    });

    private Rewritten RetryPolicy(ReadOnlySpan<byte> body) => FieldRewriter.Walk(
        body, n => n == 5 ? predicate => Configured(predicate, "envoy.retry_host_predicates.previous_hosts", PreviousHosts) : null);

    /// <summary>Adds the typed configuration (field 3 in both) that today's Envoy wants where istiod 1.10 names the extension only.</summary>
    private Rewritten Configured(ReadOnlySpan<byte> body, string name, string type)
    {
        FilterHead extension = FilterHead.Read(body, typedConfig: 3, discovery: 0);
        if (extension.Name != name || extension.HasConfig || !envoy.Has(name, type)) { return Rewritten.Same; }
        _report.Configure(name);
        return Rewritten.Changed(new ProtoWriter().Append(body).Message(3, new ProtoWriter().String(1, FilterHead.TypePrefix + type)).ToArray());
    }

    private bool ShouldGo(FilterHead filter, ReadOnlySpan<byte> config)
    {
        if (IstioFilters.IsBuiltInWasm(filter.Type, config))
        {
            _report.Remove(filter.Name);
            return true;
        }
        if (!IstioFilters.Contains(filter.Type) || envoy.Has(filter.Name, filter.Type)) { return false; }
        if (filter.Type == IstioFilters.Authn && _accessReadsAuthn)
        {
            _report.Keep(filter.Name);
            return false;
        }
        _report.Remove(filter.Name);
        return true;
    }

    /// <summary>
    /// True when an access decision in this chain reads what <c>istio_authn</c> writes: a JWT filter stands in it (its claims reach rules
    /// through <c>istio_authn</c>), or an RBAC rule names <c>istio_authn</c> metadata, or either comes by discovery and cannot be seen here.
    /// Rules on peer principals read TLS and do not count.
    /// </summary>
    private static bool AccessReadsAuthn(ReadOnlySpan<byte> manager)
    {
        var reader = new ProtoReader(manager);
        while (reader.Next())
        {
            if (!reader.Is(5)) { continue; }
            FilterHead filter = FilterHead.Read(reader.Bytes, typedConfig: 4, discovery: 5);
            bool reads = filter.Type == Jwt || (filter.Type == Rbac && (filter.IsDiscovered || reader.Bytes.IndexOf("istio_authn"u8) >= 0));
            if (reads) { return true; }
        }
        return false;
    }
}
