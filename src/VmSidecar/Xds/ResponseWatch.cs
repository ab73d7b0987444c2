using VmSidecar.Dns;
using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Watches one large response while it arrives: fills its envelope, shows clusters to those who collect hosts, and writes the mended message
/// where its resources are mended. One per response.
/// </summary>
internal sealed class ResponseWatch : IFieldVisitor, IDisposable
{
    private readonly FieldSplitter _fields;
    private readonly int _resources;
    private readonly ClusterHosts.Observation? _hosts;
    private readonly FieldRewriter.Visit? _mend;

    /// <param name="kind">Which of the two protocols.</param>
    /// <param name="length">Of the message, bytes.</param>
    /// <param name="hosts">Who is shown the resources, if anybody.</param>
    /// <param name="mend">Mends the content of each resource; null: nothing is mended.</param>
    /// <param name="mended">Where the mended message goes, empty; of the watch until it is taken.</param>
    public ResponseWatch(XdsMessageKind kind, int length, ClusterHosts.Observation? hosts, FieldRewriter.Visit? mend = null, SpilledPieces? mended = null)
    {
        Envelope = XdsEnvelope.Empty(kind);
        Mended = mended;
        (_resources, _hosts, _mend) = (XdsEnvelope.ResourcesField(kind), hosts, mend);
        _fields = new FieldSplitter(this, length);
    }

    /// <summary>What is known so far; all of it once <see cref="IsComplete"/>.</summary>
    public XdsEnvelope Envelope { get; }

    /// <summary>The message as it is to be sent, when its resources are mended. The owner of the watch takes it over or leaves it to <see cref="Dispose"/>.</summary>
    public SpilledPieces? Mended { get; private set; }

    /// <summary>True when the message was seen to its end and is well-formed.</summary>
    public bool IsComplete => _fields.IsComplete;

    /// <summary>Takes the next bytes. False when this is no discovery response.</summary>
    public bool Feed(ReadOnlySpan<byte> piece)
    {
        bool good = _fields.Feed(piece);
        Mended?.Passed();
        return good;
    }

    /// <summary>Gives the mended message away.</summary>
    public SpilledPieces TakeMended()
    {
        SpilledPieces mended = Mended!;
        Mended = null;
        return mended;
    }

    public void Dispose()
    {
        _fields.Dispose();
        Mended?.Dispose();
        Mended = null;
    }

    bool IFieldVisitor.Wants(int number)
    {
        if (number != _resources) { return XdsEnvelope.IsMadeOf(Envelope.Kind, number); }
        Envelope.CountResource();
        return _hosts is not null || _mend is not null;
    }

    bool IFieldVisitor.Field(int number, ReadOnlySpan<byte> field, int body)
    {
        if (number == _resources) { return Resource(field, field[body..]); }
        if (_hosts is not null && number == DeltaRemoved && Envelope.Kind == XdsMessageKind.DeltaResponse) { _hosts.Removed(field[body..]); }
        Mended?.Now.Append(field);
        return Envelope.TryTake(field);
    }

    void IFieldVisitor.Raw(ReadOnlySpan<byte> bytes) => Mended?.Now.Append(bytes);

    private const int DeltaRemoved = 6; // DeltaDiscoveryResponse.removed_resources

    private bool Resource(ReadOnlySpan<byte> field, ReadOnlySpan<byte> content)
    {
        _hosts?.Resource(content);
        if (_mend is null) { return true; }
        Rewritten mended = _mend(content);
        if (mended.Kind == RewriteKind.Changed)
        {
            Mended!.Now.Append(new ProtoWriter(16).Tag(_resources, mended.Length).Written.Span);
            mended.Write(content, Mended.Now.Append);
        }
        else if (mended.Kind == RewriteKind.Same) { Mended!.Now.Append(field); }
        return true;
    }
}
