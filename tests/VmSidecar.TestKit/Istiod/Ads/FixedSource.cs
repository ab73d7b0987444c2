using System.Collections.Concurrent;
using System.Collections.Immutable;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>Answers with what a test put in, over those of another source where a type was not set. Thread-safe.</summary>
internal sealed class FixedSource(IResourceSource? below = null) : IResourceSource
{
    private readonly ConcurrentDictionary<string, ImmutableDictionary<string, Any>> _byType = new(StringComparer.Ordinal);

    /// <summary>Sets one resource; the type is the message's, or <paramref name="type"/>.</summary>
    public void Set(string name, IMessage message, string? type = null) =>
        Set(type ?? "type.googleapis.com/" + message.Descriptor.FullName, name, message.ToByteString());

    /// <summary>Sets one resource of raw bytes.</summary>
    public void Set(string type, string name, ByteString bytes) => _byType.AddOrUpdate(
        type,
        _ => ImmutableDictionary<string, Any>.Empty.Add(name, new Any { TypeUrl = type, Value = bytes }),
        (_, all) => all.SetItem(name, new Any { TypeUrl = type, Value = bytes }));

    public void Remove(string type, string name) => _byType.AddOrUpdate(type, _ => ImmutableDictionary<string, Any>.Empty, (_, all) => all.Remove(name));

    public IReadOnlyList<NamedResource>? Generate(ProxyNode node, string type, IReadOnlyCollection<string>? names)
    {
        if (!_byType.TryGetValue(type, out ImmutableDictionary<string, Any>? all)) { return below?.Generate(node, type, names); }
        return [.. all.Where(r => names is null || names.Contains(r.Key)).OrderBy(r => r.Key, StringComparer.Ordinal).Select(r => new NamedResource(r.Key, r.Value))];
    }
}
