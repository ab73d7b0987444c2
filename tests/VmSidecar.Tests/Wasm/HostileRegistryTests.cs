using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Text;

using VmSidecar.TestKit;
using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Wasm;

/// <summary>A registry that means harm, or is broken: bounded in memory, disk and requests, one clear reason, nothing left behind.</summary>
public sealed class HostileRegistryTests : IAsyncLifetime
{
    private const string Layer = "application/vnd.module.wasm.content.layer.v1+wasm";
    private ModuleBench _bench = null!;

    public async ValueTask InitializeAsync() => _bench = await ModuleBench.StartAsync();

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    /// <summary>An answer without end: only a bound can end it.</summary>
    [Theory]
    [InlineData("/token", 1, "the token of")]
    [InlineData("/v2/a/b/manifests/v1", 4, "its manifest")]
    public async Task An_endless_answer_is_cut_off(string path, int mebibytes, string what)
    {
        if (path == "/token") { _bench.Server.Basic = "bWU6czNjcmV0"; }
        _bench.Server.Scripts[path] = async http =>
        {
            byte[] piece = new byte[256 * 1024];
            piece.AsSpan().Fill((byte)' ');
            while (!http.RequestAborted.IsCancellationRequested) { await http.Response.Body.WriteAsync(piece, http.RequestAborted); }
        };
        Assert.Contains($"{what}", await RefusedAsync(Image("a/b:v1")), StringComparison.Ordinal);
        Assert.Contains($"is larger than {mebibytes} MiB", _bench.Log.Lines[^1], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/token", 2)]
    [InlineData("/v2/a/b/manifests/v1", 5)]
    public async Task A_length_that_is_announced_too_large_is_not_waited_for(string path, int mebibytes)
    {
        if (path == "/token") { _bench.Server.Basic = "bWU6czNjcmV0"; }
        _bench.Server.Scripts[path] = async http =>
        {
            http.Response.ContentLength = mebibytes * 1024L * 1024;
            await http.Response.Body.FlushAsync(); // the head alone
            var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using CancellationTokenRegistration end = http.RequestAborted.Register(gone.SetResult);
            await gone.Task;
        };
        Assert.Contains("is larger than", await RefusedAsync(Image("a/b:v1")), StringComparison.Ordinal);
    }

    /// <summary>Announced, begun, and closed: for the operator that is the registry, not a folder that cannot be written.</summary>
    [Fact]
    public async Task An_answer_shorter_than_announced_is_named()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Task serving = ServeOnceAsync(listener, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}");
        string error = await RefusedAsync(new WasmModuleRequest("f", $"oci://{listener.LocalEndpoint}/a/b:v1", "", TimeSpan.Zero));
        Assert.Contains("its manifest broke off", error, StringComparison.Ordinal);
        Assert.DoesNotContain("writable", error, StringComparison.Ordinal);
        await serving;
    }

    /// <summary>Bytes that no web server sends, in the headers that a registry's answer is read by.</summary>
    [Theory]
    [InlineData("404 Not Found", "Docker-Content-Digest: sha256:\u0001\u0002\u00FF")]
    [InlineData("404 Not Found", "Docker-Content-Digest: \0")]
    [InlineData("404 Not Found", "Content-Type: \u00FF;;;=\"")]
    [InlineData("401 Unauthorized", "WWW-Authenticate: \u00FF\u0001")]
    [InlineData("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"\0\u0001")]
    [InlineData("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"http://\u00FF\u0001/\"")]
    [InlineData("307 Temporary Redirect", "Location: \u00FF\u0001://")]
    [InlineData("307 Temporary Redirect", "Location: \0")]
    public async Task Headers_of_any_bytes_are_one_clear_error(string status, string header)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        string where = $"{listener.LocalEndpoint}";
        Task serving = ServeOnceAsync(listener, $"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        using WasmModules modules = _bench.Make(o => o with { Attempts = 1 });
        Task<WasmModuleResult> result = ModuleBench.GetAsync(modules, new WasmModuleRequest("f", $"oci://{listener.LocalEndpoint}/a/b:v1", "", TimeSpan.Zero));
        await serving;
        listener.Stop(); // who asks again is refused
        Assert.StartsWith(where, (await result).Error, StringComparison.Ordinal);
    }

    /// <summary>Closes on TLS, which is tried first; answers one request in plain text, and ends.</summary>
    private static async Task ServeOnceAsync(TcpListener listener, string answer)
    {
        while (true)
        {
            using Socket connection = await listener.AcceptSocketAsync().WaitAsync(Test.Deadline);
            byte[] head = new byte[4096];
            int got = await connection.ReceiveAsync(head).WaitAsync(Test.Deadline);
            if (got == 0 || head[0] != (byte)'G') { continue; }
            await connection.SendAsync(Encoding.Latin1.GetBytes(answer));
            connection.Shutdown(SocketShutdown.Send);
            await connection.ReceiveAsync(head).WaitAsync(Test.Deadline); // until the other side has closed
            return;
        }
    }

    [Fact]
    public async Task A_loop_of_redirects_ends()
    {
        _bench.Server.Scripts["/loop"] = http => { http.Response.Redirect("/loop"); return Task.CompletedTask; };
        Assert.Contains("answers 302", await RefusedAsync(_bench.Request("/loop")), StringComparison.Ordinal);
        Assert.InRange(_bench.Server.Asked.Count, 2, 11);
    }

    /// <summary>Nothing is connected to: neither after a redirect nor where the address stands in the plug-in, which a proxy would have connected to.</summary>
    [Theory]
    [InlineData("http://169.254.169.254/latest/meta-data/")]
    [InlineData("http://[fe80::1]/m")]
    [InlineData("http://[::ffff:169.254.169.254]/m")]
    public async Task An_address_of_the_machines_identity_is_refused(string address)
    {
        _bench.Server.Scripts["/away"] = http => { http.Response.Redirect(address); return Task.CompletedTask; };
        Assert.Contains("are not fetched from link-local", await RefusedAsync(_bench.Request("/away")), StringComparison.Ordinal);
        Assert.Contains("are not fetched from link-local", await RefusedAsync(new WasmModuleRequest("f", address, "", TimeSpan.Zero)), StringComparison.Ordinal);
        _bench.Server.Basic = "bWU6czNjcmV0";
        _bench.Server.Scripts["/v2/a/b/manifests/v1"] = http =>
        {
            http.Response.StatusCode = 401;
            http.Response.Headers.WWWAuthenticate = $"Bearer realm=\"{address.Replace("http:", "https:", StringComparison.Ordinal)}\"";
            return Task.CompletedTask;
        };
        Assert.Contains("are not fetched from link-local", await RefusedAsync(Image("a/b:v1")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_bomb_stops_at_the_limit_of_a_module()
    {
        byte[] bomb;
        using (var output = new MemoryStream())
        {
            await using (var zip = new GZipStream(output, CompressionLevel.SmallestSize, leaveOpen: true)) { await zip.WriteAsync(new byte[64 * 1024 * 1024]); }
            bomb = output.ToArray();
        }
        _bench.Server.Push("a/b", "v1", (Layer, bomb));
        using WasmModules modules = _bench.Make(o => o with { MaxBytes = 1024 * 1024 });
        WasmModuleResult result = await ModuleBench.GetAsync(modules, Image("a/b:v1"));
        Assert.Contains("larger than 1048576 bytes when unpacked", result.Error, StringComparison.Ordinal);
        Assert.Empty(_bench.Kept);
    }

    /// <summary>Numbers in a tar header may be binary, and then of any size (GNU's base-256).</summary>
    [Theory]
    [InlineData(136, 12)] // time of change
    [InlineData(124, 12)] // size
    [InlineData(108, 8)]  // user
    public async Task A_number_beyond_all_sense_in_an_archive_is_damage(int at, int length)
    {
        byte[] tar = ModuleServer.Tar(("plugin.wasm", ModuleServer.Module));
        tar[at] = 0x80;
        tar.AsSpan(at + 1, length - 1).Fill(0x7F);
        _bench.Server.Files["/m"] = tar;
        Assert.Contains("what was downloaded is damaged", await RefusedAsync(_bench.Request("/m")), StringComparison.Ordinal);
    }

    /// <summary>An agent that is killed leaves what it was downloading; a download of another agent's that is under way stays.</summary>
    [Fact]
    public async Task Downloads_that_were_never_finished_go_after_an_hour()
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        using WasmModules modules = _bench.Make();
        WasmModuleResult got = await ModuleBench.GetAsync(modules, _bench.Request("/m"));
        string folder = Path.GetDirectoryName(got.File!)!, other = Directory.CreateDirectory(Path.Combine(_bench.Folder, "other")).FullName;
        string[] broken = [Path.Combine(folder, ".1.download"), Path.Combine(folder, ".1.download.module"), Path.Combine(other, ".2.download.module.plain")];
        foreach (string file in broken)
        {
            await File.WriteAllTextAsync(file, "half");
            File.SetLastWriteTimeUtc(file, _bench.Time.GetUtcNow().UtcDateTime);
        }
        _bench.Time.Advance(TimeSpan.FromMinutes(59));
        modules.Purge();
        Assert.All(broken, file => Assert.True(File.Exists(file)));
        _bench.Time.Advance(TimeSpan.FromMinutes(2));
        modules.Purge();
        Assert.All(broken, file => Assert.False(File.Exists(file)));
        Assert.False(Directory.Exists(other));
        Assert.True(File.Exists(got.File));
    }

    private async Task<string> RefusedAsync(WasmModuleRequest request)
    {
        using WasmModules modules = _bench.Make();
        WasmModuleResult result = await ModuleBench.GetAsync(modules, request);
        Assert.Null(result.File);
        Assert.Empty(_bench.Kept);
        return result.Error;
    }

    private WasmModuleRequest Image(string name) =>
        _bench.Image(name) with { PullSecret = """{"auths":{"HOST":{"auth":"bWU6czNjcmV0"}}}""".Replace("HOST", _bench.Server.Host, StringComparison.Ordinal) };
}
