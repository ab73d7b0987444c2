using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Logging;

namespace VmSidecar.Wasm;

/// <summary>
/// Wasm modules as local files: fetched once, kept under <c>Directory/SHA-256 of the address/DIGEST.wasm</c>, deleted when no filter has used them
/// for long. Requests for the same module wait for one fetch. Stages: (1) on disk? (2) download beside, (3) unpack, (4) check, (5) rename. Owned by XdsProxy.
/// </summary>
internal sealed class WasmModules(WasmOptions options, WasmMetrics metrics, TimeProvider time, ILogger log) : IWasmModules, IDisposable
{
    private const UnixFileMode Folder = File0644 | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private const UnixFileMode File0644 = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead; // Envoy may run as another user

    private static readonly TimeSpan Unfinished = TimeSpan.FromHours(1); // a download that long untouched is of an agent that was killed
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(5); // where the filter names none

    private readonly ModuleHttp _http = new(options, time);
    private readonly ConcurrentDictionary<string, Used> _used = new(StringComparer.Ordinal); // by filter: never purged
    private readonly ConcurrentDictionary<string, byte> _checked = new(StringComparer.Ordinal); // files whose checksum was seen in this run
    private readonly SemaphoreSlim _one = new(4); // fetches at a time
    private readonly ConcurrentDictionary<string, SemaphoreSlim> _gates = new(StringComparer.Ordinal); // by address: one fetch for all who ask

    public async Task<WasmModuleResult> GetAsync(WasmModuleRequest request, CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(request.Timeout > TimeSpan.Zero ? request.Timeout : DefaultTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop);
        long begin = time.GetTimestamp();
        try
        {
            string file = await LocateAsync(request, either.Token);
            _used[request.Filter] = new Used(file, request.Uri, request.Version);
            File.SetLastWriteTimeUtc(file, time.GetUtcNow().UtcDateTime);
            return new WasmModuleResult(file, "");
        }
        catch (ModuleException e)
        {
            metrics.Failed(e.Failure).Add();
            return Failed(request, e.Message);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            metrics.Failed(ModuleFailure.Download).Add();
            return Failed(request, $"it took longer than {GoDuration.Format(time.GetElapsedTime(begin))}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            metrics.Failed(ModuleFailure.Download).Add();
            return Failed(request, $"{e.Message} Make {options.Directory} writable for this user");
        }
        catch (Exception e) when (e is FormatException or ArgumentException or InvalidOperationException or NotSupportedException or ArithmeticException)
        {
            // what a registry, an archive or a pull secret holds must not end the agent
            metrics.Failed(ModuleFailure.Download).Add();
            return Failed(request, $"it cannot be fetched: {e.Message} Check the imagePullSecret and the registry");
        }
    }

    /// <summary>Deletes from time to time what nothing uses, until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        if (options.PurgeInterval <= TimeSpan.Zero) { return; }
        try
        {
            while (true) // ends by cancellation only
            {
                Purge();
                await Task.Delay(options.PurgeInterval, time, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    public void Dispose()
    {
        _http.Dispose();
        _one.Dispose();
    }

    internal void Purge()
    {
        if (!Directory.Exists(options.Directory)) { return; }
        try
        {
            HashSet<string> used = [.. _used.Values.Select(u => u.File)];
            int left = 0;
            foreach (string folder in Directory.EnumerateDirectories(options.Directory))
            {
                foreach (string file in Directory.EnumerateFiles(folder, "*.wasm"))
                {
                    TimeSpan age = time.GetUtcNow() - File.GetLastWriteTimeUtc(file);
                    if (age <= options.Expiry || used.Contains(file)) { left++; continue; }
                    File.Delete(file);
                    _checked.TryRemove(file, out _);
                    WasmLog.Purged(log, file, GoDuration.Format(age));
                }
                foreach (string broken in Directory.EnumerateFiles(folder, ".*.download*").Where(f => time.GetUtcNow() - File.GetLastWriteTimeUtc(f) > Unfinished)) { File.Delete(broken); }
                if (!Directory.EnumerateFileSystemEntries(folder).Any()) { Directory.Delete(folder); }
            }
            metrics.Entries.Value = left;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            WasmLog.CannotPurge(log, options.Directory, e.Message);
        }
    }

    private async Task<string> LocateAsync(WasmModuleRequest request, CancellationToken stop)
    {
        SemaphoreSlim gate = _gates.GetOrAdd(request.Uri, _ => new SemaphoreSlim(1));
        await gate.WaitAsync(stop);
        try
        {
            string folder = Path.Combine(options.Directory, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(request.Uri))));
            if (await OnDiskAsync(folder, request, stop) is { } file) // 1
            {
                metrics.Hits.Add();
                WasmLog.Hit(log, request.Filter, file);
                return file;
            }
            metrics.Misses.Add();
            return await FetchAsync(folder, request, stop);
        }
        finally
        {
            gate.Release();
        }
    }

    private async Task<string?> OnDiskAsync(string folder, WasmModuleRequest request, CancellationToken stop)
    {
        if (!Directory.Exists(folder)) { return null; }
        if (request.Sha256.Length > 0)
        {
            string file = Path.Combine(folder, request.Sha256 + ".wasm");
            return IsDigest(request.Sha256) && File.Exists(file) && await IsGoodAsync(file, request, stop) ? file : null;
        }
        if (_used.TryGetValue(request.Filter, out Used? used) && used.Uri == request.Uri && used.Version == request.Version && request.Version.Length > 0 && File.Exists(used.File)) { return used.File; }
        return IsAlways(request) ? null : Directory.EnumerateFiles(folder, "*.wasm").OrderByDescending(File.GetLastWriteTimeUtc).FirstOrDefault();
    }

    // A file of an earlier run could have been damaged. Images are named by their manifest, which says nothing of the file.
    private async Task<bool> IsGoodAsync(string file, WasmModuleRequest request, CancellationToken stop)
    {
        if (IsOci(request.Uri) || _checked.ContainsKey(file)) { return true; }
        await using FileStream module = File.OpenRead(file);
        if (Convert.ToHexStringLower(await SHA256.HashDataAsync(module, stop)) != request.Sha256) { return false; }
        _checked[file] = 0;
        return true;
    }

    private async Task<string> FetchAsync(string folder, WasmModuleRequest request, CancellationToken stop)
    {
        Directory.CreateDirectory(folder, Folder);
        string download = Path.Combine(folder, $".{Guid.NewGuid():N}.download"), module = download + ".module";
        long begin = time.GetTimestamp();
        await _one.WaitAsync(stop);
        try
        {
            string digest = IsOci(request.Uri)
                ? await FromRegistryAsync(request, folder, download, module, stop)
                : await FromWebAsync(request, download, module, stop); // 2, 3, 4
            string file = Path.Combine(folder, digest + ".wasm");
            if (File.Exists(module))
            {
                File.SetUnixFileMode(module, File0644);
                File.Move(module, file, overwrite: true); // 5
                metrics.Fetched.Add();
                WasmLog.Fetched(log, request.Filter, Shown(request.Uri), new FileInfo(file).Length, GoDuration.Format(time.GetElapsedTime(begin)));
            }
            _checked[file] = 0;
            metrics.Entries.Value = Directory.EnumerateDirectories(options.Directory).Sum(f => Directory.EnumerateFiles(f, "*.wasm").Count());
            return file;
        }
        finally
        {
            _one.Release();
            File.Delete(download);
            File.Delete(module);
        }
    }

    private async Task<string> FromWebAsync(WasmModuleRequest request, string download, string module, CancellationToken stop)
    {
        if (!Uri.TryCreate(request.Uri, UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("http" or "https"))
        {
            throw new ModuleException(ModuleFailure.Download, "its address is not http://, https:// or oci://");
        }
        string sum;
        using (HttpResponseMessage response = await _http.SendAsync(() => new HttpRequestMessage(HttpMethod.Get, uri), stop))
        {
            if (!response.IsSuccessStatusCode) { throw new ModuleException(ModuleFailure.Download, $"{uri.Authority} answers {ModuleHttp.Answer(response)}"); }
            sum = await _http.SaveAsync(response, download, stop);
        }
        await ModuleUnpacker.UnpackAsync(download, module, options.MaxBytes, stop);
        await using FileStream unpacked = File.OpenRead(module);
        string inner = Convert.ToHexStringLower(await SHA256.HashDataAsync(unpacked, stop));
        if (request.Sha256.Length > 0 && request.Sha256 != inner && request.Sha256 != sum)
        {
            throw new ModuleException(ModuleFailure.Checksum, $"its checksum is {inner}, and the filter says {request.Sha256}");
        }
        return request.Sha256.Length > 0 ? request.Sha256 : inner;
    }

    private async Task<string> FromRegistryAsync(WasmModuleRequest request, string folder, string download, string module, CancellationToken stop)
    {
        if (!OciReference.TryParse(request.Uri, out OciReference image)) { throw new ModuleException(ModuleFailure.Manifest, "its address is not oci://registry/repository[:tag]"); }
        var registry = new OciRegistry(_http, image, request.PullSecret);
        (string digest, IReadOnlyList<string> layers) = await registry.ResolveAsync(stop);
        if (request.Sha256.Length > 0 && request.Sha256 != digest) { throw new ModuleException(ModuleFailure.Checksum, $"its digest is {digest}, and the filter says {request.Sha256}"); }
        if (File.Exists(Path.Combine(folder, digest + ".wasm"))) { return digest; } // the tag still names what is here
        ModuleException? last = null;
        foreach (string layer in layers)
        {
            await registry.SaveAsync(layer, download, stop);
            try
            {
                await ModuleUnpacker.UnpackAsync(download, module, options.MaxBytes, stop);
                return digest;
            }
            catch (ModuleException e) { last = e; } // the module may be in another layer
        }
        throw last!;
    }

    private WasmModuleResult Failed(WasmModuleRequest request, string error)
    {
        WasmLog.Failed(log, request.Filter, Shown(request.Uri), error);
        return new WasmModuleResult(null, error);
    }

    private static bool IsAlways(WasmModuleRequest request) => request.PullPolicy switch
    {
        "Always" => true,
        "IfNotPresent" => false,
        _ => IsOci(request.Uri) && OciReference.TryParse(request.Uri, out OciReference image) && image.Tag == "latest",
    };

    private static bool IsOci(string uri) => uri.StartsWith("oci://", StringComparison.Ordinal);

    private static bool IsDigest(string sum) => sum.Length == 64 && sum.All(char.IsAsciiHexDigit); // it becomes a file name

    private static string Shown(string uri) => uri.Split('?', '#')[0];

    private sealed record Used(string File, string Uri, string Version);
}
