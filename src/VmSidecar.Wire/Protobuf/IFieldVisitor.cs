namespace VmSidecar.Wire.Protobuf;

/// <summary>Receives what <see cref="FieldSplitter"/> finds. Spans are valid during the call only.</summary>
internal interface IFieldVisitor
{
    /// <summary>A length-delimited field begins: true to have it whole, false to let it pass. Asked once per field of the message itself.</summary>
    bool Wants(int number);

    /// <summary>One wanted field, tag and length included; its content begins at <paramref name="body"/>. False ends the walk: the message is malformed.</summary>
    bool Field(int number, ReadOnlySpan<byte> field, int body);

    /// <summary>The next bytes of what was not wanted.</summary>
    void Raw(ReadOnlySpan<byte> bytes);
}
