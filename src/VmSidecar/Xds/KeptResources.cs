using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// The resources of one type, put together from the responses Envoy accepted: by name, each an encoded Any. Pure.
/// A journal is a sequence of <see cref="JournalRecord"/>.
/// </summary>
internal sealed class KeptResources
{
    private readonly Dictionary<string, byte[]> _byName = new(StringComparer.Ordinal);

    /// <summary>Resources by name.</summary>
    public IReadOnlyDictionary<string, byte[]> ByName => _byName;

    /// <summary>How many responses it was put together from; none: it says nothing, not that there are no resources.</summary>
    public int Responses { get; private set; }

    /// <summary>True when a response stands for all of its type: what came before does not count any more.</summary>
    public static bool IsWhole(XdsMessageKind kind, string typeUrl) => kind == XdsMessageKind.Response && typeUrl is XdsTypeUrl.Cluster or XdsTypeUrl.Listener;

    /// <summary>Reads a journal. <paramref name="kept"/> is the state after its last whole record; of a damaged one it must not be used.</summary>
    public static JournalEnd Read(string typeUrl, ReadOnlySpan<byte> journal, out KeptResources kept)
    {
        kept = new KeptResources();
        JournalEnd end;
        while (JournalRecord.TryRead(ref journal, out XdsMessageKind kind, out ReadOnlySpan<byte> message, out end))
        {
            if (!XdsEnvelope.TryRead(kind, message, out XdsEnvelope? response) || response.TypeUrl != typeUrl || !kept.TryTake(response, message)) { return JournalEnd.Damaged; }
        }
        return end;
    }

    /// <summary>Applies one accepted response.</summary>
    public bool TryTake(XdsEnvelope response, ReadOnlySpan<byte> message)
    {
        Responses++;
        if (IsWhole(response.Kind, response.TypeUrl)) { _byName.Clear(); }
        bool delta = response.Kind == XdsMessageKind.DeltaResponse;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (delta && reader.Is(6)) { _byName.Remove(Encoding.UTF8.GetString(reader.Bytes)); } // removed_resources
            else if (reader.Is(2) && !(delta ? TryTakeNamed(reader.Bytes) : TryTakeAny(reader.Bytes))) { return false; }
        }
        return !reader.IsMalformed;
    }

    // Resource: resource 2, name 3.
    private bool TryTakeNamed(ReadOnlySpan<byte> resource)
    {
        string name = "";
        byte[]? any = null;
        var reader = new ProtoReader(resource);
        while (reader.Next())
        {
            if (reader.Is(3)) { name = Encoding.UTF8.GetString(reader.Bytes); }
            else if (reader.Is(2)) { any = reader.Bytes.ToArray(); }
        }
        if (any is not null) { _byName[name] = any; }
        return !reader.IsMalformed;
    }

    private bool TryTakeAny(ReadOnlySpan<byte> any)
    {
        if (!TryName(any, out string name)) { return false; }
        _byName[name] = any.ToArray();
        return true;
    }

    /// <summary>The name of the resource in an Any: field 1 in every one Envoy consumes (Cluster, Listener, ClusterLoadAssignment, RouteConfiguration, Secret, TypedExtensionConfig). False when it is malformed.</summary>
    public static bool TryName(ReadOnlySpan<byte> any, out string name)
    {
        name = "";
        var reader = new ProtoReader(any);
        while (reader.Next())
        {
            if (!reader.Is(2)) { continue; }
            var resource = new ProtoReader(reader.Bytes);
            while (resource.Next())
            {
                if (resource.Is(1)) { name = Encoding.UTF8.GetString(resource.Bytes); break; }
            }
            if (resource.IsMalformed) { return false; }
        }
        return !reader.IsMalformed;
    }
}
