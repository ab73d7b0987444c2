using System.Buffers.Binary;
using System.Security.Cryptography;

namespace VmSidecar.Dns;

/// <summary>Unpredictable 16-bit numbers, drawn from the system's generator a few hundred at a time: one draw costs as much as many. One per thread.</summary>
internal static class RandomIds
{
    [ThreadStatic]
    private static byte[]? t_drawn;

    [ThreadStatic]
    private static int t_used;

    public static ushort Next()
    {
        byte[] drawn = t_drawn ??= new byte[512];
        if (t_used == 0) { RandomNumberGenerator.Fill(drawn); }
        ushort next = BinaryPrimitives.ReadUInt16LittleEndian(drawn.AsSpan(t_used));
        drawn.AsSpan(t_used, sizeof(ushort)).Clear(); // a number used is not kept
        t_used = (t_used + sizeof(ushort)) % drawn.Length;
        return next;
    }
}
