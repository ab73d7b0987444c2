using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Name and configuration type of a filter or extension; the type inside a TypedStruct where it is wrapped in one.</summary>
/// <param name="Name">The filter's name.</param>
/// <param name="Type">Type of its configuration, without <c>type.googleapis.com/</c>; empty where there is none.</param>
/// <param name="HasConfig">It has a configuration, or gets one by discovery.</param>
/// <param name="IsDiscovered">Its configuration comes by discovery (ECDS) and cannot be seen here.</param>
internal readonly record struct FilterHead(string Name, string Type, bool HasConfig, bool IsDiscovered)
{
    /// <summary>What every type URL of this world begins with.</summary>
    public const string TypePrefix = "type.googleapis.com/";

    /// <summary>Reads a filter whose name is field 1. <paramref name="typedConfig"/> and <paramref name="discovery"/> are its field numbers; 0: the message has none.</summary>
    public static FilterHead Read(ReadOnlySpan<byte> body, int typedConfig, int discovery)
    {
        string name = "", type = "";
        bool configured = false, discovered = false;
        var reader = new ProtoReader(body);
        while (reader.Next())
        {
            if (reader.Is(1)) { name = Encoding.UTF8.GetString(reader.Bytes); }
            else if (reader.Is(typedConfig)) { (type, configured) = (TypeOf(reader.Bytes), true); }
            else if (discovery != 0 && reader.Is(discovery)) { (type, configured, discovered) = (TypeOfSource(reader.Bytes), true, true); }
        }
        return new FilterHead(name, type, configured, discovered);
    }

    /// <summary>The type an Any holds, looked up inside a TypedStruct.</summary>
    public static string TypeOf(ReadOnlySpan<byte> any)
    {
        string type = WithoutPrefix(ProtoField.Text(any, 1));
        return IsTypedStruct(type) ? WithoutPrefix(ProtoField.Text(ProtoField.Last(any, 2), 1)) : type; // TypedStruct.type_url
    }

    /// <summary>What will come by discovery (ExtensionConfigSource.type_urls 4): the first of its types. istiod names RBAC behind Wasm, as the stand-in for a module that fails.</summary>
    private static string TypeOfSource(ReadOnlySpan<byte> source)
    {
        var reader = new ProtoReader(source);
        while (reader.Next())
        {
            if (reader.Is(4)) { return WithoutPrefix(Encoding.UTF8.GetString(reader.Bytes)); }
        }
        return "";
    }

    /// <summary>True for both packages a TypedStruct comes in.</summary>
    public static bool IsTypedStruct(string type) => type is "udpa.type.v1.TypedStruct" or "xds.type.v3.TypedStruct";

    /// <summary>A type URL without what all of them begin with.</summary>
    public static string WithoutPrefix(string type) => type.StartsWith(TypePrefix, StringComparison.Ordinal) ? type[TypePrefix.Length..] : type;
}
