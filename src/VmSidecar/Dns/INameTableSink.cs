namespace VmSidecar.Dns;

/// <summary>Takes the name table istiod sends (NDS). Implemented by the DNS server; called by the xDS relay, one call at a time.</summary>
internal interface INameTableSink
{
    /// <summary>Replaces the whole table by an encoded <c>istio.networking.nds.v1.NameTable</c>. Returns null when taken, else the reason for the NACK; the old table then stays.</summary>
    string? Accept(ReadOnlySpan<byte> nameTable);
}
