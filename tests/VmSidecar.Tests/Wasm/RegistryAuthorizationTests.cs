using System.Text;
using System.Text.Json;

using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Wasm;

/// <summary>Credentials of every kind, and registries that ask for them in broken words: it works, or one clear line says what does not, once, without their content.</summary>
public sealed class RegistryAuthorizationTests : IAsyncLifetime
{
    private const string Layer = "application/vnd.module.wasm.content.layer.v1+wasm", Manifest = "/v2/a/b/manifests/v1";
    private ModuleBench _bench = null!;

    public async ValueTask InitializeAsync()
    {
        _bench = await ModuleBench.StartAsync();
        _bench.Server.Push("a/b", "v1", (Layer, ModuleServer.Module));
    }

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    /// <summary>Base64 of any bytes is a header; a key file as a password has line breaks in it (user _json_key).</summary>
    [Theory]
    [InlineData("me", "s3\r\ncret\n")]
    [InlineData("me", "\0s3\u007Fcret")]
    [InlineData("mé", "pässwörd \U0001F511")]
    [InlineData("_json_key", "{\n  \"key\": \"a:b\"\n}\n")]
    [InlineData("me", "")]
    public async Task Any_password_opens_the_registry(string user, string password)
    {
        _bench.Server.Basic = Base64($"{user}:{password}");
        await OpenedAsync(JsonSerializer.Serialize(new { username = user, password }));
        await OpenedAsync(JsonSerializer.Serialize(new { auth = _bench.Server.Basic }), "a/b:again");
    }

    [Fact]
    public async Task A_password_in_auth_may_end_with_zeros_as_docker_reads_it()
    {
        _bench.Server.Basic = Base64("me:s3cret");
        await OpenedAsync(JsonSerializer.Serialize(new { auth = Base64("me:s3cret\0\0") }));
    }

    public static TheoryData<string, string> Unusable { get; } = new()
    {
        { """{"username":"s3c:ret","password":"b"}""", "its user name holds a colon" },
        { """{"username":"s3cret\n","password":"b"}""", "its user name holds a control character" },
        { """{"username":5,"password":"s3cret"}""", "its username is no text" },
        { """{"username":"s3cret\ud800","password":"b"}""", "its username is no text" },
        { """{"username":"s3cret","password":{}}""", "its password is no text" },
        { """{"auth":"me:s3cret"}""", "its auth is no base64" },
        { """{"auth":"bWU6czNjcmV0\u0000"}""", "its auth is no base64" },
        { """{"auth":"bWU6czNjcmV0é"}""", "its auth is no base64" },
        { $$"""{"auth":"{{Base64("s3cret")}}"}""", "its auth is not user:password" },
        { $$"""{"auth":"{{Base64("s3cret\n:b")}}"}""", "its user name holds a control character" },
        { """{"registrytoken":"s3cret\r\nX-Other: 1"}""", "its registrytoken holds characters that no HTTP header may hold" },
        { """{"registrytoken":"s3crét"}""", "its registrytoken holds characters that no HTTP header may hold" },
        { """{"registrytoken":"s3cret\u0000"}""", "its registrytoken holds characters that no HTTP header may hold" },
        { "\"s3cret\"", "its entry for this registry is no object" },
    };

    [Theory]
    [MemberData(nameof(Unusable))]
    public async Task A_secret_that_cannot_be_sent_is_refused_with_the_fix(string entry, string why)
    {
        _bench.Server.Basic = "bWU6czNjcmV0";
        await RefusedSecretAsync(Secret(entry), why);
    }

    [Theory]
    [InlineData("s3cret")]
    [InlineData("[\"s3cret\"]")]
    [InlineData("{\"auths\":\"s3cret\"}")]
    public async Task A_secret_that_is_no_configuration_of_docker_is_refused(string secret)
    {
        _bench.Server.Basic = "bWU6czNjcmV0";
        await RefusedSecretAsync(secret, "it is not docker's configuration JSON");
    }

    /// <summary>Istiod writes null where there is no secret; a secret for other registries is none for this one.</summary>
    [Theory]
    [InlineData("null")]
    [InlineData("{\"auths\":{\"other.example\":{\"auth\":\"no base64\"}}}")]
    public async Task Without_credentials_for_it_a_registry_is_asked_as_anybody(string secret)
    {
        _bench.Server.Basic = "";
        _bench.Server.Scripts["/token"] = http =>
        {
            http.Response.StatusCode = http.Request.Headers.Authorization.Count == 0 ? 200 : 400;
            return http.Response.Body.WriteAsync("""{"token":"t0k"}"""u8.ToArray()).AsTask();
        };
        using WasmModules modules = _bench.Make();
        await ModuleBench.FileAsync(modules, _bench.Image("a/b:v1") with { PullSecret = secret });
    }

    /// <summary>As docker login leaves them where the registry trades in tokens: exchanged by OAuth 2, in a form, which holds any character.</summary>
    [Fact]
    public async Task An_identity_token_is_exchanged()
    {
        _bench.Server.Basic = "";
        Dictionary<string, string> form = [];
        _bench.Server.Scripts["/token"] = async http =>
        {
            if (http.Request.Method == "POST" && http.Request.Headers.Authorization.Count == 0)
            {
                form = (await http.Request.ReadFormAsync()).ToDictionary(f => f.Key, f => f.Value.ToString());
            }
            await http.Response.Body.WriteAsync("""{"access_token":"t0k"}"""u8.ToArray());
        };
        await OpenedAsync(JsonSerializer.Serialize(new { auth = Base64("00000000-0000-0000-0000-000000000000:"), identitytoken = "r3fr\nesh&é" }));
        Assert.Equal("refresh_token", form["grant_type"]);
        Assert.Equal("r3fr\nesh&é", form["refresh_token"]);
        Assert.Equal("reg", form["service"]);
        Assert.Equal("repository:a/b:pull,push", form["scope"]);
        Assert.NotEmpty(form["client_id"]);
    }

    [Fact]
    public async Task A_registry_token_is_shown_as_it_is()
    {
        _bench.Server.Basic = "";
        await OpenedAsync("""{"registrytoken":"t0k"}""");
        Assert.DoesNotContain("/token", _bench.Server.Asked);
    }

    [Theory]
    [InlineData("""{"token":"s3c\r\nret: 1"}""")]
    [InlineData("""{"token":"s3cret\u0000"}""")]
    [InlineData("""{"token":"s3crét"}""")]
    [InlineData("""{"access_token":"s3cret\n"}""")]
    [InlineData("""{"token":""}""")]
    [InlineData("""{"token":5}""")]
    [InlineData("""{"token":"\ud800"}""")]
    [InlineData("""["s3cret"]""")]
    [InlineData("""s3cret""")]
    [InlineData("""{}""")]
    public async Task A_token_that_no_header_may_hold_is_refused(string answer)
    {
        _bench.Server.Basic = "";
        _bench.Server.Scripts["/token"] = http => http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(answer)).AsTask();
        await RefusedAsync($"{_bench.Server.Host} gives no token that can be used");
        Assert.Single(_bench.Server.Asked, "/token");
        Assert.Single(_bench.Server.Asked, Manifest);
    }

    [Fact]
    public async Task The_second_name_of_a_token_counts_where_the_first_is_empty()
    {
        _bench.Server.Basic = "";
        _bench.Server.Scripts["/token"] = http => http.Response.Body.WriteAsync("""{"token":"","access_token":"t0k"}"""u8.ToArray()).AsTask();
        await OpenedAsync("{}");
    }

    [Theory]
    [InlineData("Bearer realm=\"no address\"")]
    [InlineData("Bearer realm=\"/token\"")]
    [InlineData("Bearer realm=\"https://\"")]
    [InlineData("Bearer realm=\"https://[::1/token\"")]
    [InlineData("Bearer realm=\"file:///etc/passwd\"")]
    [InlineData("Bearer realm=\"http://token.example/\"")]
    [InlineData("Bearer realm=\"\"")]
    [InlineData("Bearer realm")]
    [InlineData("Bearer")]
    public async Task A_realm_that_is_no_address_is_refused(string challenge)
    {
        _bench.Server.Scripts[Manifest] = http =>
        {
            http.Response.StatusCode = 401;
            http.Response.Headers.WWWAuthenticate = challenge;
            return Task.CompletedTask;
        };
        await RefusedAsync($"{_bench.Server.Host} names no usable realm for its tokens");
        Assert.Single(_bench.Server.Asked, Manifest);
    }

    /// <summary>A realm may have a query of its own, and even a fragment, which no server ever sees.</summary>
    [Fact]
    public async Task What_a_realm_carries_stays_and_what_is_asked_is_added()
    {
        _bench.Server.Basic = "bWU6czNjcmV0";
        string query = "";
        _bench.Server.Scripts["/realm"] = http =>
        {
            query = http.Request.QueryString.Value!;
            return http.Response.Body.WriteAsync("""{"token":"t0k"}"""u8.ToArray()).AsTask();
        };
        _bench.Server.Challenge = $"Bearer realm=\"http://{_bench.Server.Host}/realm?tenant=1#top\",service=\"r&g\"";
        await OpenedAsync("""{"auth":"bWU6czNjcmV0"}""");
        Assert.Equal("?tenant=1&service=r%26g", query);
    }

    /// <summary>Registries keep layers elsewhere, at addresses that open by themselves.</summary>
    [Fact]
    public async Task Credentials_do_not_follow_a_redirect()
    {
        _bench.Server.Basic = "bWU6czNjcmV0";
        int shown = -1;
        _bench.Server.Scripts["/store"] = http =>
        {
            shown = http.Request.Headers.Authorization.Count;
            return http.Response.Body.WriteAsync(ModuleServer.Module).AsTask();
        };
        _bench.Server.Scripts[$"/v2/a/b/blobs/sha256:{ModuleServer.Sha(ModuleServer.Module)}"] = http =>
        {
            http.Response.StatusCode = http.Request.Headers.Authorization == "Bearer t0k" ? 307 : 401;
            http.Response.Headers.Location = "/store";
            return Task.CompletedTask;
        };
        await OpenedAsync("""{"auth":"bWU6czNjcmV0"}""");
        Assert.Equal(0, shown);
    }

    [Fact]
    public async Task An_identity_token_does_not_follow_a_redirect()
    {
        _bench.Server.Basic = "";
        _bench.Server.Scripts["/token"] = http => { http.Response.StatusCode = 307; http.Response.Headers.Location = "/other"; return Task.CompletedTask; };
        using WasmModules modules = _bench.Make();
        string error = (await ModuleBench.GetAsync(modules, _bench.Image("a/b:v1") with { PullSecret = Secret("""{"identitytoken":"s3cret"}""") })).Error;
        Assert.Contains("a redirect that cannot be followed", error, StringComparison.Ordinal);
        Assert.DoesNotContain("/other", _bench.Server.Asked);
        AssertUntold();
    }

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private string Secret(string entry) => $"{{\"auths\":{{\"{_bench.Server.Host}\":{entry}}}}}";

    private async Task OpenedAsync(string entry, string image = "a/b:v1")
    {
        if (image != "a/b:v1") { _bench.Server.Push("a/b", image.Split(':')[1], (Layer, ModuleServer.Module)); }
        using WasmModules modules = _bench.Make();
        await ModuleBench.FileAsync(modules, _bench.Image(image) with { PullSecret = Secret(entry), PullPolicy = "Always" });
    }

    private async Task RefusedSecretAsync(string secret, string why)
    {
        using WasmModules modules = _bench.Make();
        string error = (await ModuleBench.GetAsync(modules, _bench.Image("a/b:v1") with { PullSecret = secret })).Error;
        Assert.StartsWith($"the WasmPlugin's imagePullSecret cannot be used for {_bench.Server.Host}: {why}", error, StringComparison.Ordinal);
        Assert.Contains($"kubectl create secret docker-registry NAME --docker-server={_bench.Server.Host}", error, StringComparison.Ordinal);
        Assert.Equal([Manifest], _bench.Server.Asked.Where(p => p is Manifest or "/token"));
        Assert.Single(_bench.Log.Lines, l => l.Contains(why, StringComparison.Ordinal));
        AssertUntold();
    }

    private async Task RefusedAsync(string said)
    {
        using WasmModules modules = _bench.Make();
        WasmModuleRequest request = _bench.Image("a/b:v1") with { PullSecret = Secret("""{"auth":"bWU6czNjcmV0"}""") };
        string error = (await ModuleBench.GetAsync(modules, request)).Error;
        Assert.Contains(said, error, StringComparison.Ordinal);
        Assert.Single(_bench.Log.Lines);
        AssertUntold();
    }

    private void AssertUntold() => Assert.DoesNotContain(_bench.Log.Lines, l => l.Contains("s3c", StringComparison.Ordinal) || l.Contains("czNjcmV0", StringComparison.Ordinal));

    [Theory]
    [InlineData("realm=\"https://a/t\",service=\"r\",scope=\"repository:a/b:pull,push\"", "https://a/t", "r", "repository:a/b:pull,push")]
    [InlineData("realm=\"https://a/t?x=1\", service=reg , scope = \"repository:a/b:pull\"", "https://a/t?x=1", "reg", "repository:a/b:pull")]
    [InlineData("service=reg,realm=https://a/t", "https://a/t", "reg", null)]
    [InlineData("service=,realm=\"https://a/t\",scope=\"never closed", "https://a/t", "", null)]
    public void A_challenge_may_quote_its_values_or_not(string challenge, string realm, string service, string? scope)
    {
        Dictionary<string, string> found = RegistryAuthorization.Parameters(challenge);
        Assert.Equal((realm, service, scope), (found["realm"], found["service"], found.GetValueOrDefault("scope")));
    }
}
