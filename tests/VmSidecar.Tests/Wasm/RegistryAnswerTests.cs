using System.Net;
using System.Text;

using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Wasm;

/// <summary>A registry whose redirects and digests are none: one clear line, no second try, and no word of its own is believed.</summary>
public sealed class RegistryAnswerTests : IAsyncLifetime
{
    private const string Layer = "application/vnd.module.wasm.content.layer.v1+wasm", Manifest = "/v2/a/b/manifests/v1";
    private ModuleBench _bench = null!;

    public async ValueTask InitializeAsync()
    {
        _bench = await ModuleBench.StartAsync();
        _bench.Server.Push("a/b", "v1", (Layer, ModuleServer.Module));
    }

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    [Theory]
    [InlineData("//:bad")]
    [InlineData("http://[")]
    [InlineData("http://a:99999999/")]
    [InlineData("ftp://files.example/m")]
    [InlineData("javascript:1")]
    [InlineData("")]
    [InlineData(null)]
    public async Task A_redirect_to_no_address_is_named_and_not_tried_again(string? location)
    {
        foreach (string path in (string[])["/m", Manifest])
        {
            _bench.Server.Scripts[path] = http =>
            {
                http.Response.StatusCode = 307;
                if (location is not null) { http.Response.Headers.Location = location; }
                return Task.CompletedTask;
            };
        }
        using WasmModules modules = _bench.Make();
        foreach (WasmModuleRequest request in (WasmModuleRequest[])[_bench.Request("/m"), _bench.Image("a/b:v1")])
        {
            string error = (await ModuleBench.GetAsync(modules, request)).Error;
            Assert.Contains(_bench.Server.Host, error, StringComparison.Ordinal);
            Assert.Contains("a redirect that cannot be followed", error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("https://a.example/v2/m", 307, "/store?x=1", "https://a.example/store?x=1")]
    [InlineData("https://a.example/v2/m", 302, "https://b.example/s", "https://b.example/s")]
    [InlineData("https://a.example/v2/m", 308, "//b.example/s", "https://b.example/s")]
    [InlineData("http://a.example/v2/m", 301, "https://b.example/s", "https://b.example/s")]
    [InlineData("https://a.example/v2/m", 302, "http://b.example/s", null)] // whoever is on the way could answer
    [InlineData("https://a.example/v2/m", 302, "file:///etc/passwd", null)]
    [InlineData("https://a.example/v2/m", 200, "/s", null)]
    [InlineData("https://a.example/v2/m", 304, "/s", null)]
    public void A_redirect_never_gives_up_TLS(string from, int status, string location, string? to)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        response.Headers.TryAddWithoutValidation("Location", location);
        Assert.Equal(to, ModuleHttp.Next(new Uri(from), response)?.AbsoluteUri);
    }

    /// <summary>The agent computes the digest itself: what the registry says of it cannot mislead.</summary>
    [Theory]
    [InlineData("garbage")]
    [InlineData("sha256:zz")]
    [InlineData("")]
    [InlineData("sha256:0000000000000000000000000000000000000000000000000000000000000000")]
    public async Task The_digest_a_registry_claims_is_not_believed(string claim)
    {
        byte[] manifest = _bench.Server.Files[Manifest];
        _bench.Server.Scripts[Manifest] = http =>
        {
            http.Response.Headers["Docker-Content-Digest"] = claim;
            return http.Response.Body.WriteAsync(manifest).AsTask();
        };
        using WasmModules modules = _bench.Make();
        string file = await ModuleBench.FileAsync(modules, _bench.Image("a/b:v1", ModuleServer.Sha(manifest)));
        Assert.Equal(ModuleServer.Sha(manifest) + ".wasm", Path.GetFileName(file));
    }

    [Theory]
    [InlineData("layers", "../../../token")]
    [InlineData("layers", "sha256:\\r\\n")]
    [InlineData("layers", "sha256:zz")]
    [InlineData("layers", "")]
    [InlineData("manifests", "v2?x=y")]
    [InlineData("manifests", "sha512:00")]
    public async Task A_digest_that_is_none_is_not_asked_for(string list, string digest)
    {
        _bench.Server.Put("a/b", "v1", Encoding.UTF8.GetBytes($$$"""{"{{{list}}}":[{"mediaType":"{{{Layer}}}","digest":"{{{digest}}}"}]}"""), "");
        using WasmModules modules = _bench.Make();
        string error = (await ModuleBench.GetAsync(modules, _bench.Image("a/b:v1"))).Error;
        Assert.StartsWith("the manifest of a/b cannot be used: it names something by a digest that is no sha256", error, StringComparison.Ordinal);
        Assert.Single(_bench.Log.Lines);
        Assert.Single(_bench.Server.Asked, p => p.StartsWith("/v2/a/b", StringComparison.Ordinal));
        Assert.DoesNotContain("/token", _bench.Server.Asked);
    }
}
