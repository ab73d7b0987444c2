using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
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

    /// <summary>The table, which is the caller's then, and when it came from istiod; null when there is none to be had.</summary>
    public (SentTable Table, DateTimeOffset Taken)? Load()
    {
        SentTable? table = null;
        try
        {
            if (!File.Exists(Path)) { return null; }
            using SafeFileHandle file = File.OpenHandle(Path);
            long length = RandomAccess.GetLength(file);
            if (length is < HeadSize or > MaxSize) { DnsLog.DamagedTable(log, Path); return null; }
            byte[] head = new byte[HeadSize];
            table = new((int)length - HeadSize);
            bool good = Fill(file, head, 0) && Fill(file, table.Bytes, HeadSize) && head.AsSpan().StartsWith(Magic) && Breather.Sha256(table.Bytes).AsSpan().SequenceEqual(head.AsSpan(16));
            if (good) { return (table, DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(BinaryPrimitives.ReadInt64BigEndian(head.AsSpan(8)), 0, 253402300799))); }
            DnsLog.DamagedTable(log, Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InsufficientMemoryException)
        {
            DnsLog.UnreadableTable(log, Path, e.Message);
        }
        table?.Leave();
        return null;
    }

    /// <summary>Replaces the file in one step. A full or read-only disk costs a warning, not the table in use.</summary>
    public async Task SaveAsync(ReadOnlyMemory<byte> table, CancellationToken stop)
    {
        byte[] head = new byte[HeadSize];
        Magic.CopyTo(head);
        BinaryPrimitives.WriteInt64BigEndian(head.AsSpan(8), time.GetUtcNow().ToUnixTimeSeconds());
        Breather.Sha256(table.Span).CopyTo(head.AsSpan(16));
        try
        {
            Directory.CreateDirectory(stateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await AtomicFile.WriteAsync(Path, Breather.Pieces(table).Prepend(head), Mode, stop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DnsLog.UnwritableTable(log, Path, e.Message);
        }
    }
    private static bool Fill(SafeFileHandle file, Span<byte> bytes, long at)
    {
        while (!bytes.IsEmpty)
        {
            int read = RandomAccess.Read(file, bytes, at);
            if (read == 0) { return false; } // it became shorter
            bytes = bytes[read..];
            at += read;
        }
        return true;
    }
}
