using System.Globalization;
using System.Text;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>Makes encoded name tables of any size: nine in ten hosts are services of Kubernetes, the rest are external.</summary>
internal static class NdsBytes
{
    public static byte[] Make(int hosts)
    {
        using var table = new MemoryStream();
        for (int i = 0; i < hosts; i++)
        {
            string ip = $"10.{(i >> 16) & 255}.{(i >> 8) & 255}.{i & 255}";
            Add(table, $"h{i}.example.com", ip, "External", "", "");
            if (i % 10 != 0) { Add(table, string.Create(CultureInfo.InvariantCulture, $"s{i}.n{i % 100}.svc.cluster.local"), ip, "Kubernetes", $"s{i}", $"n{i % 100}"); i++; }
        }
        return table.ToArray();
    }

    private static void Add(MemoryStream table, string host, string ip, string registry, string shortName, string ns)
    {
        byte[] info = [.. Field(1, ip), .. Field(2, registry), .. shortName.Length > 0 ? Field(3, shortName) : [], .. ns.Length > 0 ? Field(4, ns) : []];
        table.Write(Field(1, [.. Field(1, host), .. Field(2, info)]));
    }

    private static byte[] Field(int number, string text) => Field(number, Encoding.UTF8.GetBytes(text));

    private static byte[] Field(int number, byte[] value) => value.Length < 128
        ? [(byte)((number << 3) | 2), (byte)value.Length, .. value]
        : [(byte)((number << 3) | 2), (byte)(value.Length | 0x80), (byte)(value.Length >> 7), .. value];
}
