using System.Formats.Tar;
using System.IO.Compression;

namespace VmSidecar.Wasm;

/// <summary>Finds the module in what was downloaded: the file itself, gzip around it, or a tar archive (plain or gzip) that holds it. No file outside the given one is written.</summary>
internal static class ModuleUnpacker
{
    private const string PluginName = "plugin.wasm"; // what images of Wasm plug-ins call it
    private static readonly byte[] Magic = [0, (byte)'a', (byte)'s', (byte)'m'];

    /// <summary>Writes the module in <paramref name="download"/> to <paramref name="module"/>. Throws <see cref="ModuleException"/> when there is none or it is too large.</summary>
    public static async Task UnpackAsync(string download, string module, long maxBytes, CancellationToken stop)
    {
        try
        {
            await using var file = new FileStream(download, FileMode.Open, FileAccess.Read);
            byte[] head = new byte[512];
            int length = await file.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, stop);
            file.Position = 0;
            bool zipped = length > 2 && head[0] == 0x1F && head[1] == 0x8B;
            await using Stream plain = zipped ? new GZipStream(file, CompressionMode.Decompress) : file;
            await UnpackPlainAsync(plain, module, maxBytes, stop);
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or FormatException or ArithmeticException or ArgumentException) // the last two: numbers in a tar header that are none
        {
            throw new ModuleException(ModuleFailure.Download, $"what was downloaded is damaged: {e.Message}", e);
        }
    }

    private static async Task UnpackPlainAsync(Stream plain, string module, long maxBytes, CancellationToken stop)
    {
        string inner = module + ".plain";
        try
        {
            await CopyAsync(plain, inner, maxBytes, stop);
            if (await IsModuleAsync(inner, stop)) { File.Move(inner, module, overwrite: true); return; }
            if (!await IsTarAsync(inner, stop)) { throw new ModuleException(ModuleFailure.Download, "what was downloaded is no Wasm module and no archive of one"); }
            await FromTarAsync(inner, module, maxBytes, stop);
        }
        finally
        {
            File.Delete(inner);
        }
        if (!await IsModuleAsync(module, stop)) { throw new ModuleException(ModuleFailure.Download, "the file in the archive is no Wasm module"); }
    }

    /// <summary>The entry called plugin.wasm, else the first file.</summary>
    private static async Task FromTarAsync(string tar, string module, long maxBytes, CancellationToken stop)
    {
        await using var archive = new FileStream(tar, FileMode.Open, FileAccess.Read);
        await using var reader = new TarReader(archive);
        bool found = false;
        while (await reader.GetNextEntryAsync(copyData: false, stop) is { } entry)
        {
            if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile) || entry.DataStream is null) { continue; }
            bool named = Path.GetFileName(entry.Name) == PluginName;
            if (found && !named) { continue; }
            await CopyAsync(entry.DataStream, module, maxBytes, stop);
            found = true;
            if (named) { return; }
        }
        if (!found) { throw new ModuleException(ModuleFailure.Download, "the archive holds no file"); }
    }

    private static async Task CopyAsync(Stream from, string file, long maxBytes, CancellationToken stop)
    {
        await using var output = new FileStream(file, FileMode.Create, FileAccess.Write, FileShare.None);
        byte[] buffer = new byte[64 * 1024];
        long total = 0;
        int read;
        while ((read = await from.ReadAsync(buffer, stop)) > 0)
        {
            total += read;
            if (total > maxBytes) { throw new ModuleException(ModuleFailure.Download, $"it is larger than {maxBytes} bytes when unpacked (ISTIO_WASM_MAX_BINARY_SIZE_BYTES)"); }
            await output.WriteAsync(buffer.AsMemory(0, read), stop);
        }
    }

    private static async Task<bool> IsModuleAsync(string file, CancellationToken stop) => (await HeadAsync(file, Magic.Length, stop)).AsSpan().SequenceEqual(Magic);

    // POSIX tar has "ustar" at offset 257 of its first header.
    private static async Task<bool> IsTarAsync(string file, CancellationToken stop) => await HeadAsync(file, 262, stop) is { Length: 262 } head && head.AsSpan(257).SequenceEqual("ustar"u8);

    private static async Task<byte[]> HeadAsync(string file, int length, CancellationToken stop)
    {
        byte[] head = new byte[length];
        await using var input = new FileStream(file, FileMode.Open, FileAccess.Read);
        return head[..await input.ReadAtLeastAsync(head, length, throwOnEndOfStream: false, stop)];
    }
}
