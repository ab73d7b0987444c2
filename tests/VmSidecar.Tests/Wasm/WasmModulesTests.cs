using System.Net;
using System.Text;

using VmSidecar.TestKit;
using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Wasm;

/// <summary>Fetching and keeping modules against a real web server and registry (reference 03 §11).</summary>
public sealed class WasmModulesTests : IAsyncLifetime
{
    private ModuleBench _bench = null!;

    public async ValueTask InitializeAsync() => _bench = await ModuleBench.StartAsync();

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    [Fact]
    public async Task A_module_with_a_checksum_is_fetched_once_and_found_again_after_a_restart()
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        using (WasmModules modules = _bench.Make())
        {
            string file = await ModuleBench.FileAsync(modules, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module)));
            Assert.Equal(ModuleServer.Module, File.ReadAllBytes(file));
            Assert.Equal(Path.Combine(_bench.Folder, ModuleServer.Sha(Encoding.UTF8.GetBytes(_bench.Url("/m"))), ModuleServer.Sha(ModuleServer.Module) + ".wasm"), file);
            Assert.Equal(file, await ModuleBench.FileAsync(modules, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module))));
        }
        using (WasmModules again = _bench.Make()) { await ModuleBench.FileAsync(again, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module))); }
        Assert.Equal(["/m"], _bench.Server.Asked);
        Assert.Equal(2, _bench.Metrics.Counter("wasm_cache_lookup_count", "", "hit=\"true\"").Value);
        Assert.Equal(1, _bench.Metrics.Counter("wasm_remote_fetch_count", "", "result=\"success\"").Value);
        Assert.Single(_bench.Kept); // nothing is left of the download
    }

    [Fact]
    public async Task A_damaged_file_of_an_earlier_run_is_fetched_again()
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        string file;
        using (WasmModules modules = _bench.Make()) { file = await ModuleBench.FileAsync(modules, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module))); }
        File.WriteAllBytes(file, [1, 2, 3]);
        using WasmModules again = _bench.Make();
        Assert.Equal(ModuleServer.Module, File.ReadAllBytes(await ModuleBench.FileAsync(again, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module)))));
    }

    [Theory, InlineData("gzip"), InlineData("tar"), InlineData("tgz")]
    public async Task A_module_in_an_archive_is_unpacked_and_its_own_checksum_counts(string form)
    {
        byte[] tar = ModuleServer.Tar(("README", [1]), ("./plugin.wasm", ModuleServer.Module));
        _bench.Server.Files["/m"] = form switch { "gzip" => ModuleServer.Gzip(ModuleServer.Module), "tar" => tar, _ => ModuleServer.Gzip(tar) };
        using WasmModules modules = _bench.Make();
        Assert.Equal(ModuleServer.Module, File.ReadAllBytes(await ModuleBench.FileAsync(modules, _bench.Request("/m", ModuleServer.Sha(ModuleServer.Module)))));
    }

    [Theory]
    [InlineData("http://HOST/none", "answers 404")]
    [InlineData("http://HOST/text", "is no Wasm module")]
    [InlineData("http://HOST/large", "larger than 1000 bytes")]
    [InlineData("http://HOST/bomb", "larger than 1000 bytes when unpacked")]
    [InlineData("http://HOST/cut", "is no Wasm module")]
    [InlineData("ftp://HOST/m", "is not http://, https:// or oci://")]
    [InlineData("http://169.254.169.254/latest/meta-data", "not fetched from link-local")]
    [InlineData("http://[fd00:ec2::254]/m", "not fetched from link-local")]
    [InlineData("http://127.0.0.2/m", "not fetched from link-local, metadata or blocked")]
    [InlineData("oci://HOST", "is not oci://registry/repository")]
    [InlineData("oci://HOST/none:1", "answers 404")]
    public async Task What_cannot_be_had_says_why(string uri, string why)
    {
        _bench.Server.Files["/text"] = "<html>"u8.ToArray();
        _bench.Server.Files["/large"] = [.. ModuleServer.Module, .. new byte[2000]];
        _bench.Server.Files["/bomb"] = ModuleServer.Gzip([.. ModuleServer.Module, .. new byte[2000]]);
        _bench.Server.Files["/cut"] = ModuleServer.Gzip(ModuleServer.Module)[..12];
        using WasmModules modules = _bench.Make(o => o with { MaxBytes = 1000, Blocked = [IPNetwork.Parse("127.0.0.2/32")] });
        WasmModuleResult result = await modules.GetAsync(new WasmModuleRequest("f", uri.Replace("HOST", _bench.Server.Host, StringComparison.Ordinal), "", TimeSpan.Zero), CancellationToken.None).WaitAsync(Test.Deadline);
        Assert.Null(result.File);
        Assert.Contains(why, result.Error, StringComparison.Ordinal);
        Assert.Empty(_bench.Kept);
    }

    [Fact]
    public async Task A_redirect_does_not_lead_around_the_guard()
    {
        _bench.Server.Redirect = "http://169.254.169.254/latest/meta-data";
        using WasmModules modules = _bench.Make();
        Assert.Contains("not fetched from link-local", (await ModuleBench.GetAsync(modules, _bench.Request("/old"))).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_checksum_is_refused()
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        using WasmModules modules = _bench.Make();
        Assert.Contains("the filter says aaaa", (await modules.GetAsync(_bench.Request("/m", new string('a', 64)), CancellationToken.None).WaitAsync(Test.Deadline)).Error, StringComparison.Ordinal);
        Assert.Equal(1, _bench.Metrics.Counter("wasm_remote_fetch_count", "", "result=\"checksum_mismatched\"").Value);
    }

    [Fact]
    public async Task A_server_that_fails_is_asked_again_with_growing_pauses()
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        _bench.Server.Failures = 2;
        using WasmModules modules = _bench.Make();
        Task<string> file = ModuleBench.FileAsync(modules, _bench.Request("/m") with { Timeout = TimeSpan.FromMinutes(5) });
        foreach (double pause in new[] { 0.5, 1 })
        {
            while (await _bench.Time.NextTimerAsync(Test.Deadline) != TimeSpan.FromSeconds(pause)) { } // the others are time limits
            _bench.Time.Advance(TimeSpan.FromSeconds(pause));
        }
        await file;
        Assert.Equal(3, _bench.Server.Asked.Count);
    }

    [Theory]
    [InlineData("", "", 1)]                    // IfNotPresent: what is there will do
    [InlineData("Always", "", 2)]
    [InlineData("Always", "v1", 1)]            // the plug-in has not changed
    public async Task Without_a_checksum_the_pull_policy_decides(string policy, string version, int fetches)
    {
        _bench.Server.Files["/m"] = ModuleServer.Module;
        using WasmModules modules = _bench.Make();
        for (int i = 0; i < 2; i++) { await ModuleBench.FileAsync(modules, _bench.Request("/m") with { PullPolicy = policy, Version = version }); }
        Assert.Equal(fetches, _bench.Server.Asked.Count);
    }

    [Theory]
    [InlineData("application/vnd.module.wasm.content.layer.v1+wasm", false)]
    [InlineData("application/vnd.oci.image.layer.v1.tar+gzip", true)]
    [InlineData("application/vnd.docker.image.rootfs.diff.tar.gzip", true)]
    public async Task The_three_kinds_of_image(string layer, bool packed)
    {
        byte[] bytes = packed ? ModuleServer.Gzip(ModuleServer.Tar(("plugin.wasm", ModuleServer.Module))) : ModuleServer.Module;
        string digest = _bench.Server.Push("a/b", "v1", (layer, bytes));
        using WasmModules modules = _bench.Make();
        string file = await ModuleBench.FileAsync(modules, _bench.Image("a/b:v1", digest));
        Assert.Equal(digest + ".wasm", Path.GetFileName(file));
        Assert.Equal(ModuleServer.Module, File.ReadAllBytes(file));
        Assert.Contains("manifest", (await ModuleBench.GetAsync(modules, _bench.Image("a/b:v2", ""))).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_tag_latest_is_looked_up_again_but_its_layers_are_not_fetched_twice()
    {
        _bench.Server.Push("a/b", "latest", ("application/vnd.module.wasm.content.layer.v1+wasm", ModuleServer.Module));
        using WasmModules modules = _bench.Make();
        Assert.Equal(await ModuleBench.FileAsync(modules, _bench.Image("a/b", "")), await ModuleBench.FileAsync(modules, _bench.Image("a/b", "")));
        Assert.Equal(2, _bench.Server.Asked.Count(p => p.Contains("manifests", StringComparison.Ordinal)));
        Assert.Single(_bench.Server.Asked, p => p.Contains("blobs", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_index_leads_to_an_image_and_a_digest_that_does_not_match_is_refused()
    {
        string inner = _bench.Server.Push("a/b", "inner", ("application/vnd.module.wasm.content.layer.v1+wasm", ModuleServer.Module));
        _bench.Server.Put("a/b", "v1", Encoding.UTF8.GetBytes($$"""{"manifests":[{"mediaType":"x","digest":"sha256:{{inner}}"}]}"""), "application/vnd.oci.image.index.v1+json");
        using WasmModules modules = _bench.Make();
        Assert.Equal(ModuleServer.Module, File.ReadAllBytes(await ModuleBench.FileAsync(modules, _bench.Image("a/b:v1", ""))));
        _bench.Server.Files["/v2/a/b/manifests/sha256:" + new string('b', 64)] = _bench.Server.Files["/v2/a/b/manifests/v1"];
        Assert.Contains("the registry sent a manifest with digest", (await modules.GetAsync(_bench.Image("a/b@sha256:" + new string('b', 64), ""), CancellationToken.None).WaitAsync(Test.Deadline)).Error, StringComparison.Ordinal);
        Assert.Contains("and the filter says", (await modules.GetAsync(_bench.Image("a/b:v1", new string('c', 64)), CancellationToken.None).WaitAsync(Test.Deadline)).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_pull_secret_opens_the_registry_and_is_never_logged()
    {
        _bench.Server.Basic = Convert.ToBase64String("me:s3cret"u8);
        _bench.Server.Push("a/b", "v1", ("application/vnd.module.wasm.content.layer.v1+wasm", ModuleServer.Module));
        using WasmModules modules = _bench.Make();
        string secret = """{"auths":{"HOST":{"username":"me","password":"s3cret"}}}""".Replace("HOST", _bench.Server.Host, StringComparison.Ordinal);
        await ModuleBench.FileAsync(modules, _bench.Image("a/b:v1", "") with { PullSecret = secret });
        WasmModuleResult refused = await ModuleBench.GetAsync(modules, _bench.Image("a/b:v2", "") with { PullSecret = secret.Replace("s3cret", "wr0ng", StringComparison.Ordinal) });
        Assert.Contains("answers 403 when asked for a token", refused.Error, StringComparison.Ordinal);
        Assert.DoesNotContain(_bench.Log.Lines, l => l.Contains("s3cret", StringComparison.Ordinal) || l.Contains("wr0ng", StringComparison.Ordinal) || l.Contains(_bench.Server.Basic, StringComparison.Ordinal));
    }

    /// <summary>base64(1) breaks its lines and ends with one; whoever made the secret by hand has that in it.</summary>
    [Theory]
    [InlineData("bWU6\\nczNj\\r\\ncmV0\\n", true)]
    [InlineData("bWU6czNjcmV0", true)]
    [InlineData("bWU6czNjcmV0\\u0000", false)]
    [InlineData("me:s3cret", false)]
    public async Task Ready_made_credentials_may_be_broken_into_lines(string auth, bool good)
    {
        _bench.Server.Basic = "bWU6czNjcmV0";
        _bench.Server.Push("a/b", "v1", ("application/vnd.module.wasm.content.layer.v1+wasm", ModuleServer.Module));
        using WasmModules modules = _bench.Make();
        string secret = """{"auths":{"HOST":{"auth":"AUTH"}}}""".Replace("HOST", _bench.Server.Host, StringComparison.Ordinal).Replace("AUTH", auth, StringComparison.Ordinal);
        WasmModuleResult result = await ModuleBench.GetAsync(modules, _bench.Image("a/b:v1") with { PullSecret = secret });
        Assert.Equal(good, result.Error.Length == 0);
        Assert.DoesNotContain("cannot be fetched", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_no_filter_has_used_for_a_day_is_deleted()
    {
        _bench.Server.Files["/a"] = ModuleServer.Module;
        _bench.Server.Files["/b"] = ModuleServer.Module;
        string a, b;
        using (WasmModules modules = _bench.Make())
        {
            a = await ModuleBench.FileAsync(modules, _bench.Request("/a"));
            b = await ModuleBench.FileAsync(modules, _bench.Request("/b")); // the same filter: /a is not needed any more
            _bench.Time.Advance(TimeSpan.FromHours(23));
            modules.Purge();
            Assert.True(File.Exists(a));
            _bench.Time.Advance(TimeSpan.FromHours(2));
            modules.Purge();
        }
        Assert.False(Directory.Exists(Path.GetDirectoryName(a)));
        Assert.True(File.Exists(b)); // in use, however old
    }

    [Fact]
    public async Task A_silent_server_costs_the_filters_own_time_limit()
    {
        using var silent = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        using WasmModules modules = _bench.Make();
        Task<WasmModuleResult> result = modules.GetAsync(new WasmModuleRequest("f", $"http://{silent.LocalEndpoint}/m", "", TimeSpan.FromSeconds(7)), CancellationToken.None);
        await silent.AcceptTcpClientAsync().WaitAsync(Test.Deadline);
        _bench.Time.Advance(TimeSpan.FromSeconds(7));
        Assert.Contains("it took longer than 7s", (await result.WaitAsync(Test.Deadline)).Error, StringComparison.Ordinal);
    }
}
