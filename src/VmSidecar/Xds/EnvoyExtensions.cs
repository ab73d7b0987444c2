using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>What one Envoy can load, as it lists it in <c>node.extensions</c> of its first request. Immutable.</summary>
internal sealed class EnvoyExtensions
{
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly HashSet<string> _types = new(StringComparer.Ordinal);

    private EnvoyExtensions() { }

    /// <summary>True for Istio's build of Envoy: it lists extensions of Istio's.</summary>
    public bool IsIstios { get; private set; }

    /// <summary>Reads the list; null when the node lists none (a proxyless client, an old Envoy): then nothing may be concluded.</summary>
    public static EnvoyExtensions? Read(ReadOnlySpan<byte> node)
    {
        var found = new EnvoyExtensions();
        var reader = new ProtoReader(node);
        while (reader.Next())
        {
            if (reader.Is(9)) { found.Add(reader.Bytes); } // Node.extensions
        }
        return reader.IsMalformed || found._names.Count == 0 ? null : found;
    }

    /// <summary>True when this Envoy can load an extension. The type decides; names count too, because Envoys before 1.22 list no types.</summary>
    public bool Has(string name, string type) => (type.Length > 0 && _types.Contains(type)) || _names.Contains(name);

    // envoy.config.core.v3.Extension: name 1, disabled 5, type_urls 6.
    private void Add(ReadOnlySpan<byte> extension)
    {
        string name = "";
        List<string> types = [];
        var reader = new ProtoReader(extension);
        while (reader.Next())
        {
            if (reader.Is(1)) { name = Encoding.UTF8.GetString(reader.Bytes); }
            else if (reader.Is(6)) { types.Add(Encoding.UTF8.GetString(reader.Bytes)); }
            else if (reader is { Number: 5, Value: not 0 }) { return; }
        }
        _names.Add(name);
        _types.UnionWith(types);
        IsIstios |= IsOne(name) || types.Exists(IsOne);
    }

    private static bool IsOne(string word) =>
        word.StartsWith("istio", StringComparison.Ordinal) || word.StartsWith("io.istio.", StringComparison.Ordinal) || word == IstioFilters.TcpMetadataExchange;
}
