using System.Runtime.InteropServices;
using System.Text;

namespace VmSidecar.Wire.Protobuf;

/// <summary>
/// The envelope of one discovery message: what a relay must know to route and acknowledge it. Resources, node and
/// everything unknown stay bytes. Made by <see cref="TryRead"/>, which never throws and skips payloads by their length, so the cost does not grow with the resources' size.
/// </summary>
internal sealed record XdsEnvelope
{
    // Field numbers in the order type_url, version, nonce, names (or first resource's field), error, node.
    private static readonly Layout RequestLayout = new(TypeUrl: 4, Version: 1, Nonce: 5, Names: 3, Removed: 0, Initial: 0, Error: 6, Node: 2, Resources: 0);
    private static readonly Layout ResponseLayout = new(TypeUrl: 4, Version: 1, Nonce: 5, Names: 0, Removed: 0, Initial: 0, Error: 0, Node: 0, Resources: 2);
    private static readonly Layout DeltaRequestLayout = new(TypeUrl: 2, Version: 0, Nonce: 6, Names: 3, Removed: 4, Initial: 5, Error: 7, Node: 1, Resources: 0);
    private static readonly Layout DeltaResponseLayout = new(TypeUrl: 4, Version: 1, Nonce: 5, Names: 0, Removed: 6, Initial: 0, Error: 0, Node: 0, Resources: 2);

    public required XdsMessageKind Kind { get; init; }

    /// <summary>type_url; well-known ones are shared strings.</summary>
    public string TypeUrl { get; private set; } = "";

    /// <summary>version_info or system_version_info; empty for delta requests.</summary>
    public string Version { get; private set; } = "";

    /// <summary>nonce or response_nonce.</summary>
    public string Nonce { get; private set; } = "";

    /// <summary>How many names are asked for: resource_names or resource_names_subscribe.</summary>
    public int Names { get; private set; }

    /// <summary>resource_names_unsubscribe or removed_resources.</summary>
    public int Removed { get; private set; }

    /// <summary>Entries of initial_resource_versions.</summary>
    public int Initial { get; private set; }

    /// <summary>True when the request carries error_detail: a NACK, or an unhealthy report.</summary>
    public bool HasError { get; private set; }

    /// <summary>error_detail.code.</summary>
    public int ErrorCode { get; private set; }

    /// <summary>error_detail.message.</summary>
    public string ErrorMessage { get; private set; } = "";

    /// <summary>Where the node is in the message; empty when there is none.</summary>
    public Range Node { get; private set; } = ..0;

    /// <summary>True when the request carries a node.</summary>
    public bool HasNode { get; private set; }

    /// <summary>Number of resources in a response.</summary>
    public int Resources { get; private set; }

    /// <summary>
    /// Where the first resource's payload (the Any's value) is in the message; empty when there is none. For delta the Any is
    /// <c>resources[0].resource</c>.
    /// </summary>
    public Range FirstResource { get; private set; } = ..0;

    /// <summary>Reads an envelope. False when the bytes are no protobuf message, or a text in it is no UTF-8.</summary>
    public static bool TryRead(XdsMessageKind kind, ReadOnlySpan<byte> message, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out XdsEnvelope? envelope)
    {
        var found = new XdsEnvelope { Kind = kind };
        envelope = null;
        Layout layout = LayoutOf(kind);
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Type == ProtoWireType.Bytes && !found.Take(layout, reader, message)) { return false; }
        }
        if (reader.IsMalformed) { return false; }
        envelope = found;
        return true;
    }

    /// <summary>An envelope to be filled field by field, for a message that arrives in pieces: <see cref="TryTake"/>, <see cref="CountResource"/>.</summary>
    public static XdsEnvelope Empty(XdsMessageKind kind) => new() { Kind = kind };

    /// <summary>True for a field the envelope is made of; resources are only counted.</summary>
    public static bool IsMadeOf(XdsMessageKind kind, int number)
    {
        Layout layout = LayoutOf(kind);
        return number == layout.TypeUrl || number == layout.Version || number == layout.Nonce || number == layout.Removed || number == layout.Names || number == layout.Error;
    }

    /// <summary>Takes one whole field, tag included. False as in <see cref="TryRead"/>.</summary>
    public bool TryTake(ReadOnlySpan<byte> field)
    {
        var reader = new ProtoReader(field);
        while (reader.Next())
        {
            if (reader.Type == ProtoWireType.Bytes && !Take(LayoutOf(Kind), reader, field)) { return false; }
        }
        return !reader.IsMalformed;
    }

    /// <summary>One more resource; <see cref="FirstResource"/> stays empty.</summary>
    public void CountResource() => Resources++;

    /// <summary>Field number of the resources in a response of this kind.</summary>
    public static int ResourcesField(XdsMessageKind kind) => LayoutOf(kind).Resources;

    private static Layout LayoutOf(XdsMessageKind kind) => kind switch
    {
        XdsMessageKind.Request => RequestLayout,
        XdsMessageKind.Response => ResponseLayout,
        XdsMessageKind.DeltaRequest => DeltaRequestLayout,
        _ => DeltaResponseLayout,
    };

    // The last occurrence of a singular field wins, as protobuf says.
    private bool Take(Layout layout, ProtoReader field, ReadOnlySpan<byte> message)
    {
        int number = field.Number;
        if (number == layout.Resources) { return TakeResource(field, message); }
        if (number == layout.TypeUrl || number == layout.Nonce || number == layout.Version) { return TakeText(layout, field); }
        if (number == layout.Names) { Names++; }
        else if (number == layout.Removed) { Removed++; }
        else if (number == layout.Initial) { Initial++; }
        else if (number == layout.Error) { return TakeError(field.Bytes); }
        else if (number == layout.Node)
        {
            HasNode = true;
            Node = field.BodyStart..field.End;
        }
        return true;
    }

    private bool TakeText(Layout layout, ProtoReader field)
    {
        if (!Text(field.Bytes, out string text)) { return false; }
        if (field.Number == layout.TypeUrl) { TypeUrl = text; }
        else if (field.Number == layout.Nonce) { Nonce = text; }
        else { Version = text; }
        return true;
    }

    private bool TakeResource(ProtoReader field, ReadOnlySpan<byte> message)
    {
        if (Resources++ > 0) { return true; }
        Range any = field.BodyStart..field.End;
        if (Kind == XdsMessageKind.DeltaResponse && !TryFind(message, any, 2, out any)) { return false; }
        if (!TryFind(message, any, 2, out Range value)) { return false; }
        FirstResource = value;
        return true;
    }

    private bool TakeError(ReadOnlySpan<byte> status)
    {
        HasError = true;
        var reader = new ProtoReader(status);
        while (reader.Next())
        {
            if (reader is { Number: 1, Type: ProtoWireType.Varint }) { ErrorCode = unchecked((int)reader.Value); }
            else if (reader.Is(2))
            {
                if (!Text(reader.Bytes, out string said)) { return false; }
                ErrorMessage = said;
            }
        }
        return !reader.IsMalformed;
    }

    /// <summary>The last occurrence of a length-delimited field inside a part of the message; an absent one is empty.</summary>
    private static bool TryFind(ReadOnlySpan<byte> message, Range part, int number, out Range body)
    {
        (int offset, int length) = part.GetOffsetAndLength(message.Length);
        body = ..0;
        var reader = new ProtoReader(message.Slice(offset, length));
        while (reader.Next())
        {
            if (reader.Is(number)) { body = (offset + reader.BodyStart)..(offset + reader.End); }
        }
        return !reader.IsMalformed;
    }

    private static bool Text(ReadOnlySpan<byte> bytes, out string text)
    {
        if (XdsTypeUrl.TryShare(bytes, out string? shared))
        {
            text = shared;
            return true;
        }
        bool valid = System.Text.Unicode.Utf8.IsValid(bytes);
        text = valid ? Encoding.UTF8.GetString(bytes) : "";
        return valid;
    }

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Layout(int TypeUrl, int Version, int Nonce, int Names, int Removed, int Initial, int Error, int Node, int Resources);
}
