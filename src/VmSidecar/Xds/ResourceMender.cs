using System.Text;

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
    private const string TypePrefix = "type.googleapis.com/";
    private const string ConnectionManager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    private const string RawBuffer = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    private const string PreviousHosts = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    private const string Jwt = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    private const string Rbac = "envoy.extensions.filters.http.rbac.v3.RBAC";

    private MendReport _report = new(); // of the message at hand
    private bool _accessReadsAuthn;     // of the chain at hand

    /// <summary>A mender for this Envoy; null when there is nothing to mend: it is Istio's, or does not say what it has.</summary>
    public static ResourceMender? For(ReadOnlySpan<byte> node) => EnvoyExtensions.Read(node) is { IsIstios: false } extensions ? new ResourceMender(extensions) : null;

    /// <summary>Mends one response. Null when no byte changes.</summary>
    public byte[]? Mend(XdsEnvelope response, ReadOnlySpan<byte> message, out MendReport report)
    {
        report = _report = new MendReport();
        if (ResourceVisit(response.TypeUrl) is not { } visit) { return null; }
        FieldRewriter.Visit any = body => Typed(body, visit);
        FieldRewriter.Visit resource = response.Kind == XdsMessageKind.DeltaResponse ? body => FieldRewriter.Walk(body, n => n == 2 ? any : null) : any;
        int field = XdsEnvelope.ResourcesField(response.Kind);
        return FieldRewriter.Walk(message, n => n == field ? resource : null).Bytes;
    }

    private FieldRewriter.Visit? ResourceVisit(string typeUrl) => typeUrl switch
    {
        XdsTypeUrl.Listener => Listener,
        XdsTypeUrl.Cluster => Cluster,
        XdsTypeUrl.Routes => Routes,
        _ => null,
    };

    // google.protobuf.Any: value 2.
    private static Rewritten Typed(ReadOnlySpan<byte> any, FieldRewriter.Visit visit) => FieldRewriter.Walk(any, n => n == 2 ? visit : null);

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
        if (ShouldGo(filter)) { return Rewritten.Removed; }
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
        ShouldGo(FilterHead.Read(body, typedConfig: 4, discovery: 5)) ? Rewritten.Removed : Rewritten.Same;

    private Rewritten Cluster(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        24 => TransportSocket,
        40 => ClusterFilter,
        43 => match => FieldRewriter.Walk(match, m => m == 3 ? TransportSocket : null),
        _ => null,
    });

    private Rewritten ClusterFilter(ReadOnlySpan<byte> body) =>
        ShouldGo(FilterHead.Read(body, typedConfig: 2, discovery: 3)) ? Rewritten.Removed : Rewritten.Same;

    private Rewritten TransportSocket(ReadOnlySpan<byte> body) => Configured(body, "envoy.transport_sockets.raw_buffer", RawBuffer);

    private Rewritten Routes(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n == 2 ? VirtualHost : null);

    private Rewritten VirtualHost(ReadOnlySpan<byte> body) => FieldRewriter.Walk(body, n => n switch
    {
        3 => route => FieldRewriter.Walk(route, r => r == 2 ? action => FieldRewriter.Walk(action, a => a == 9 ? RetryPolicy : null) : null),
        16 => RetryPolicy,
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
        return Rewritten.Changed(new ProtoWriter().Append(body).Message(3, new ProtoWriter().String(1, TypePrefix + type)).ToArray());
    }

    private bool ShouldGo(FilterHead filter)
    {
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

    /// <summary>Name and configuration type of a filter or extension; the type inside a TypedStruct where it is wrapped in one.</summary>
    private readonly record struct FilterHead(string Name, string Type, bool HasConfig, bool IsDiscovered)
    {
        public static FilterHead Read(ReadOnlySpan<byte> body, int typedConfig, int discovery)
        {
            string name = "", type = "";
            bool configured = false, discovered = false;
            var reader = new ProtoReader(body);
            while (reader.Next())
            {
                if (reader.Is(1)) { name = Encoding.UTF8.GetString(reader.Bytes); }
                else if (reader.Is(typedConfig)) { (type, configured) = (TypeOf(reader.Bytes), true); }
                else if (discovery != 0 && reader.Is(discovery)) { (type, configured, discovered) = (Text(reader.Bytes, 4), true, true); } // ExtensionConfigSource.type_urls
            }
            return new FilterHead(name, WithoutPrefix(type), configured, discovered);
        }

        private static string TypeOf(ReadOnlySpan<byte> any)
        {
            string type = WithoutPrefix(Text(any, 1));
            if (type is not ("udpa.type.v1.TypedStruct" or "xds.type.v3.TypedStruct")) { return type; }
            var reader = new ProtoReader(any);
            while (reader.Next())
            {
                if (reader.Is(2)) { return Text(reader.Bytes, 1); } // TypedStruct.type_url
            }
            return type;
        }

        private static string Text(ReadOnlySpan<byte> message, int number)
        {
            string text = "";
            var reader = new ProtoReader(message);
            while (reader.Next())
            {
                if (reader.Is(number)) { text = Encoding.UTF8.GetString(reader.Bytes); }
            }
            return text;
        }

        private static string WithoutPrefix(string type) => type.StartsWith(TypePrefix, StringComparison.Ordinal) ? type[TypePrefix.Length..] : type;
    }
}
