using System.Text.Unicode;

namespace VmSidecar.Wire.Dns;

/// <summary>
/// Walks an encoded <c>istio.networking.nds.v1.NameTable</c> field by field, so that a table of 100,000 hosts becomes no objects on the way.
/// Fields: table = 1 (map entry: key 1, value 2); NameInfo: ips 1, registry 2, shortname 3, namespace 4, alt_hosts 5. Others are skipped.
/// </summary>
internal ref struct NdsReader(ReadOnlySpan<byte> message)
{
    private ReadOnlySpan<byte> _rest = message;

    /// <summary>The bytes broke the protobuf wire format or a string is not UTF-8; nothing more can be read.</summary>
    public bool IsBroken { get; private set; }

    /// <summary>The next host; false at the end or when broken.</summary>
    public bool TryReadHost(out NdsHost host)
    {
        host = default;
        while (TryReadField(ref _rest, out int field, out ReadOnlySpan<byte> value, out bool isBytes))
        {
            if (field == 1 && isBytes) { return TryReadEntry(value, out host); }
        }
        IsBroken |= _rest.Length > 0;
        return false;
    }

    /// <summary>The next string of the field in an encoded NameInfo; walks <paramref name="rest"/> on.</summary>
    public static bool TryReadString(scoped ref ReadOnlySpan<byte> rest, int wanted, out ReadOnlySpan<byte> value)
    {
        while (TryReadField(ref rest, out int field, out value, out bool isBytes))
        {
            if (field == wanted && isBytes) { return true; }
        }
        value = default;
        return false;
    }

    private bool TryReadEntry(ReadOnlySpan<byte> entry, out NdsHost host)
    {
        host = default;
        while (TryReadField(ref entry, out int field, out ReadOnlySpan<byte> value, out bool isBytes))
        {
            if (field == 1 && isBytes) { host.Name = value; }
            if (field == 2 && isBytes) { host.Fields = value; }
        }
        if (entry.Length == 0 && Utf8.IsValid(host.Name) && TryReadNameInfo(ref host)) { return true; }
        IsBroken = true;
        return false;
    }

    private static bool TryReadNameInfo(ref NdsHost host)
    {
        ReadOnlySpan<byte> rest = host.Fields;
        while (TryReadField(ref rest, out int field, out ReadOnlySpan<byte> value, out bool isBytes))
        {
            if (!isBytes || field is < 1 or > 5) { continue; }
            if (!Utf8.IsValid(value)) { return false; }
            switch (field)
            {
                case 2: host.Registry = value; break;
                case 3: host.ShortName = value; break;
                case 4: host.Namespace = value; break;
                default: break; // repeated fields are walked by TryReadString
            }
        }
        return rest.Length == 0;
    }

    /// <summary>False with <paramref name="rest"/> empty at the end, with bytes left when broken.</summary>
    private static bool TryReadField(scoped ref ReadOnlySpan<byte> rest, out int field, out ReadOnlySpan<byte> value, out bool isBytes)
    {
        field = 0;
        value = default;
        isBytes = false;
        ReadOnlySpan<byte> at = rest;
        if (at.Length == 0 || !TryReadVarint(ref at, out ulong tag) || tag >> 3 is 0 or > 0x1fffffff) { return false; }
        field = (int)(tag >> 3);
        int length;
        switch (tag & 7)
        {
            case 0: if (!TryReadVarint(ref at, out _)) { return false; } length = 0; break;
            case 1: length = 8; break;
            case 2: if (!TryReadVarint(ref at, out ulong size) || size > (ulong)at.Length) { return false; } length = (int)size; isBytes = true; break;
            case 5: length = 4; break;
            default: return false;
        }
        if (length > at.Length) { return false; }
        value = at[..length];
        rest = at[length..];
        return true;
    }

    private static bool TryReadVarint(scoped ref ReadOnlySpan<byte> at, out ulong value)
    {
        value = 0;
        for (int i = 0; i < 10 && i < at.Length; i++)
        {
            value |= (ulong)(at[i] & 0x7f) << (7 * i);
            if (at[i] < 0x80) { at = at[(i + 1)..]; return true; }
        }
        return false;
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

    /// <summary>The encoded NameInfo, for <see cref="NdsReader.TryReadString"/>.</summary>
    public ReadOnlySpan<byte> Fields;

    public readonly bool IsKubernetes => Registry.SequenceEqual("Kubernetes"u8);
}
