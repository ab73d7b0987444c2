using System.Collections;

using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Tls;
using VmSidecar.EnvoyApi.Udpa;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>Rewrites the nested configurations of a message in our own field order, so that two of them can be compared: Go writes oneofs last, and maps in any order.</summary>
internal static class Canonical
{
    private static readonly Dictionary<string, MessageParser> Known = new MessageParser[]
    {
        UpstreamTlsContext.Parser, DownstreamTlsContext.Parser, TypedStruct.Parser, EnvoyApi.Upstreams.HttpProtocolOptions.Parser,
    }.ToDictionary(p => "type.googleapis.com/" + p.ParseFrom(ByteString.Empty).Descriptor.FullName);

    public static IMessage Of(IMessage message)
    {
        if (message is Any any)
        {
            if (Known.TryGetValue(any.TypeUrl, out MessageParser? parser)) { any.Value = Sorted(parser.ParseFrom(any.Value)); }
            return any;
        }
        foreach (FieldDescriptor field in message.Descriptor.Fields.InFieldNumberOrder())
        {
            object? value = field.Accessor.GetValue(message);
            IEnumerable inner = value is IDictionary map ? map.Values : field.IsRepeated ? (IEnumerable)value! : new[] { value };
            foreach (IMessage one in inner.OfType<IMessage>()) { Of(one); }
        }
        return message;
    }

    /// <summary>Bytes with the keys of a struct in order.</summary>
    private static ByteString Sorted(IMessage message)
    {
        if (message is TypedStruct typed)
        {
            KeyValuePair<string, Value>[] fields = [.. typed.Value.Fields.OrderBy(f => f.Key, StringComparer.Ordinal)];
            typed.Value.Fields.Clear();
            foreach ((string key, Value value) in fields) { typed.Value.Fields[key] = value; }
        }
        return message.ToByteString();
    }
}
