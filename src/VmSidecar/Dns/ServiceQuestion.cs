using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Takes the name of an SRV question apart (RFC 2782). Pure.</summary>
internal static class ServiceQuestion
{
    /// <summary>
    /// <c>_service._tcp.owner</c> in lower-case wire form: the service without its underscore, and the owner. False for anything else; the mesh has no
    /// other transport.
    /// </summary>
    public static bool TryRead(ReadOnlySpan<byte> name, out ReadOnlySpan<byte> service, out ReadOnlySpan<byte> owner)
    {
        service = [];
        owner = [];
        if (name.Length < 3 || name[0] < 2 || name[1] != '_') { return false; }
        ReadOnlySpan<byte> rest = WireName.Parent(name);
        if (!rest.StartsWith("\u0004_tcp"u8)) { return false; }
        owner = WireName.Parent(rest);
        service = name.Slice(2, name[0] - 1);
        return owner.Length > 1;
    }
}
