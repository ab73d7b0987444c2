using System.Text.Unicode;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Wire.Dns;

/// <summary>
/// Walks an encoded <c>istio.networking.nds.v1.NameTable</c> field by field, so that a table of 100,000 hosts becomes no objects on the way.
/// Fields: table = 1 (map entry: key 1, value 2); NameInfo: ips 1, registry 2, shortname 3, namespace 4, alt_hosts 5. Others are skipped.
/// </summary>
internal ref struct NdsReader(ReadOnlySpan<byte> message)
{
    private ProtoReader _table = new(message);
    private bool _badEntry;

    /// <summary>The bytes broke the protobuf wire format or a string is not UTF-8; nothing more can be read.</summary>
    public readonly bool IsBroken => _badEntry || _table.IsMalformed;

    /// <summary>The next host; false at the end or when broken.</summary>
    public bool TryReadHost(out NdsHost host)
    {
        host = default;
        while (!_badEntry && _table.Next())
        {
            if (_table.Is(1)) { return TryReadEntry(_table.Bytes, out host); }
        }
        return false;
    }

    private bool TryReadEntry(ReadOnlySpan<byte> bytes, out NdsHost host)
    {
        host = default;
        var entry = new ProtoReader(bytes);
        while (entry.Next())
        {
            if (entry.Is(1)) { host.Name = entry.Bytes; }
            if (entry.Is(2)) { host.Fields = entry.Bytes; }
        }
        _badEntry = entry.IsMalformed || !Utf8.IsValid(host.Name) || !TryReadFields(ref host);
        return !_badEntry;
    }

    private static bool TryReadFields(ref NdsHost host)
    {
        var fields = new ProtoReader(host.Fields);
        while (fields.Next())
        {
            if (fields.Type != ProtoWireType.Bytes || fields.Number > NdsHost.AltHosts) { continue; }
            if (!Utf8.IsValid(fields.Bytes)) { return false; }
            switch (fields.Number)
            {
                case 2: host.Registry = fields.Bytes; break;
                case 3: host.ShortName = fields.Bytes; break;
                case 4: host.Namespace = fields.Bytes; break;
                default: break; // repeated fields are walked by who needs them
            }
        }
        return !fields.IsMalformed;
    }
}

/// <summary>One entry of the table; the spans lie in the encoded message.</summary>
internal ref struct NdsHost
{
    public const int Ips = 1, AltHosts = 5;

    public ReadOnlySpan<byte> Name;
    public ReadOnlySpan<byte> Registry;
    public ReadOnlySpan<byte> ShortName;
    public ReadOnlySpan<byte> Namespace;

    /// <summary>The encoded NameInfo, for its repeated fields.</summary>
    public ReadOnlySpan<byte> Fields;

    public readonly bool IsKubernetes => Registry.SequenceEqual("Kubernetes"u8);
}
