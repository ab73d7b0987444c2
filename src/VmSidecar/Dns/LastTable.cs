using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using VmSidecar.Linux.Files;

namespace VmSidecar.Dns;

/// <summary>
/// The last name table on disk, as it came: so that mesh names resolve from the start, also without istiod. Layout: magic, Unix seconds, SHA-256
/// of the table, the table. A damaged file is logged and ignored; it may be deleted at any time.
/// </summary>
internal sealed class LastTable(string stateDirectory, TimeProvider time, ILogger log)
{
    private const int HeadSize = 8 + 8 + SHA256.HashSizeInBytes;
    private const long MaxSize = 256 << 20; // beyond any mesh: not ours
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public string Path { get; } = System.IO.Path.Combine(stateDirectory, "nametable");

    private static ReadOnlySpan<byte> Magic => "VMSNDS1\n"u8;

    /// <summary>The table and when it came from istiod; null when there is none to be had.</summary>
    public (byte[] Table, DateTimeOffset Taken)? Load()
    {
        try
        {
            if (!File.Exists(Path)) { return null; }
            if (new FileInfo(Path).Length is < HeadSize or > MaxSize) { DnsLog.DamagedTable(log, Path); return null; }
            byte[] content = File.ReadAllBytes(Path);
            byte[] table = content[HeadSize..];
            bool good = content.AsSpan().StartsWith(Magic) && SHA256.HashData(table).AsSpan().SequenceEqual(content.AsSpan(16, SHA256.HashSizeInBytes));
            if (good) { return (table, DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(BinaryPrimitives.ReadInt64BigEndian(content.AsSpan(8)), 0, 253402300799))); }
            DnsLog.DamagedTable(log, Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DnsLog.UnreadableTable(log, Path, e.Message);
        }
        return null;
    }

    /// <summary>Replaces the file in one step. A full or read-only disk costs a warning, not the table in use.</summary>
    public async Task SaveAsync(byte[] table, CancellationToken stop)
    {
        byte[] content = new byte[HeadSize + table.Length];
        Magic.CopyTo(content);
        BinaryPrimitives.WriteInt64BigEndian(content.AsSpan(8), time.GetUtcNow().ToUnixTimeSeconds());
        SHA256.HashData(table, content.AsSpan(16));
        table.CopyTo(content, HeadSize);
        try
        {
            Directory.CreateDirectory(stateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await AtomicFile.WriteAsync(Path, content, Mode, stop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DnsLog.UnwritableTable(log, Path, e.Message);
        }
    }
}
