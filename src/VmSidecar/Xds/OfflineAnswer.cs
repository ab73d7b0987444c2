using System.Globalization;
using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Answers one Envoy stream from kept resources, in either protocol, the way istiod does (reference 03 §13): subscriptions in full, acknowledgements with silence. One per stream; pure but for its nonce counter.</summary>
internal sealed class OfflineAnswer(OfflineResources resources)
{
    private readonly HashSet<string> _answered = new(StringComparer.Ordinal);
    private readonly HashSet<string> _unknown = new(StringComparer.Ordinal);
    private int _nonces;

    /// <summary>Extensions that Envoy has asked for and that were not kept, in the order of the questions.</summary>
    public IReadOnlyCollection<string> Unknown => _unknown;

    /// <summary>
    /// The responses to a request, in order. A refusal is answered as an acknowledgement is: Envoy may ask for more in the same message. An extension that was not kept comes last, as one
    /// that Envoy must refuse (<see cref="Unusable"/>).
    /// </summary>
    public IReadOnlyList<byte[]> To(XdsEnvelope request, ReadOnlySpan<byte> message)
    {
        if (Asked(request, message) is not { } names) { return []; }
        bool delta = request.Kind == XdsMessageKind.DeltaRequest;
        if (request.TypeUrl != XdsTypeUrl.Extension) { return [Response(delta, request.TypeUrl, names.Count == 0 ? null : names)]; }
        List<byte[]> responses = [];
        List<string> known = [.. names.Where(Extensions.ContainsKey)];
        if (known.Count > 0) { responses.Add(Response(delta, request.TypeUrl, known)); }
        foreach (string name in names.Where(n => !Extensions.ContainsKey(n) && _unknown.Add(n))) { responses.Add(Response(delta, request.TypeUrl, [name])); }
        return responses;
    }

    private IReadOnlyDictionary<string, byte[]> Extensions => resources.Types.GetValueOrDefault(XdsTypeUrl.Extension)?.ByName ?? new Dictionary<string, byte[]>();

    /// <summary>The names asked for, none for all of the type; null when nothing is asked.</summary>
    private List<string>? Asked(XdsEnvelope request, ReadOnlySpan<byte> message)
    {
        bool delta = request.Kind == XdsMessageKind.DeltaRequest;
        bool wildcard = request.TypeUrl is XdsTypeUrl.Cluster or XdsTypeUrl.Listener;
        if (!resources.Types.ContainsKey(request.TypeUrl) && !IsAwaited(request.TypeUrl)) { return null; }
        List<string> names = Names(message, 3); // resource_names, resource_names_subscribe
        bool first = _answered.Add(request.TypeUrl);
        bool asks = first || names.Count > 0 && (delta || request.Nonce.Length == 0 || IsNews(request.TypeUrl, names));
        if (!asks || (!wildcard && names.Count == 0)) { return null; }
        Remember(request.TypeUrl, names);
        return wildcard && names.All(n => n == "*") ? [] : names;
    }

    private readonly Dictionary<string, HashSet<string>> _known = new(StringComparer.Ordinal);

    private bool IsNews(string type, List<string> names) => !_known.TryGetValue(type, out HashSet<string>? known) || names.Exists(n => !known.Contains(n));

    private void Remember(string type, List<string> names)
    {
        if (!_known.TryGetValue(type, out HashSet<string>? known)) { _known[type] = known = new(StringComparer.Ordinal); }
        known.UnionWith(names);
    }

    private byte[] Response(bool delta, string typeUrl, List<string>? names)
    {
        IReadOnlyDictionary<string, byte[]> kept = resources.Types.TryGetValue(typeUrl, out KeptResources? known) ? known.ByName : new Dictionary<string, byte[]>();
        var response = new ProtoWriter();
        response.String(1, "offline/" + resources.Seen.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture));
        foreach (string name in names ?? [.. kept.Keys])
        {
            byte[]? any = kept.GetValueOrDefault(name) ?? Empty(typeUrl, name);
            if (any is null) { continue; }
            if (delta) { response.Message(2, new ProtoWriter().Bytes(2, any).String(3, name)); }
            else { response.Bytes(2, any); }
        }
        return response.String(4, typeUrl).String(5, $"offline-{++_nonces}").ToArray();
    }

    // A cluster whose endpoints are never answered never warms, nor a listener without its routes or extensions, and Envoy waits for it for ever (istiod sets no limit): unknown ones are empty.
    private static bool IsAwaited(string typeUrl) => typeUrl is XdsTypeUrl.Endpoints or XdsTypeUrl.Routes or XdsTypeUrl.Extension;

    private static byte[]? Empty(string typeUrl, string name) => typeUrl switch
    {
        XdsTypeUrl.Extension => new ProtoWriter().String(1, typeUrl).Message(2, Unusable(name)).ToArray(),
        XdsTypeUrl.Endpoints or XdsTypeUrl.Routes => new ProtoWriter().String(1, typeUrl).Message(2, new ProtoWriter().String(1, name)).ToArray(),
        _ => null,
    };

    /// <summary>
    /// A configuration of a type that no listener takes. Silence, and a removal too, leave Envoy waiting, and at its start one waiting listener holds up all; a refused configuration ends
    /// the wait. The filter is missing then, and Envoy turns away what comes through it (HTTP 500, a closed connection) rather than let it pass unfiltered, or takes the listener's default.
    /// </summary>
    private static ProtoWriter Unusable(string name) => new ProtoWriter().String(1, name).Message(2, new ProtoWriter().String(1, "type.googleapis.com/google.protobuf.Empty"));

    private static List<string> Names(ReadOnlySpan<byte> message, int number)
    {
        List<string> names = [];
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Is(number)) { names.Add(Encoding.UTF8.GetString(reader.Bytes)); }
        }
        return names;
    }
}
