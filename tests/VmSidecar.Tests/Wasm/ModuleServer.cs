using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace VmSidecar.Tests.Wasm;

/// <summary>A web server and an image registry for modules, over real HTTP. What is not in <see cref="Files"/> is 404.</summary>
internal sealed class ModuleServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private ModuleServer(WebApplication app) => _app = app;

    /// <summary>Smallest module: magic and version.</summary>
    public static byte[] Module { get; } = [0, (byte)'a', (byte)'s', (byte)'m', 1, 0, 0, 0];

    /// <summary>By path.</summary>
    public Dictionary<string, byte[]> Files { get; } = new(StringComparer.Ordinal);

    /// <summary>Media types by path.</summary>
    public Dictionary<string, string> Types { get; } = new(StringComparer.Ordinal);

    /// <summary>Answers of their own, by path, before anything else.</summary>
    public Dictionary<string, RequestDelegate> Scripts { get; } = new(StringComparer.Ordinal);

    /// <summary>Every path asked for, in order.</summary>
    public List<string> Asked { get; } = [];

    /// <summary>Answers 500 to so many requests first.</summary>
    public int Failures { get; set; }

    /// <summary>A bearer token is needed for /v2, given for this Basic value.</summary>
    public string? Basic { get; set; }

    /// <summary>How it asks for that token; null: in the usual way, at /token.</summary>
    public string? Challenge { get; set; }

    /// <summary>Where /old leads.</summary>
    public string? Redirect { get; set; }

    public string Host { get; private set; } = "";

    public static async Task<ModuleServer> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(System.Net.IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        var server = new ModuleServer(app);
        app.Run(server.ServeAsync);
        await app.StartAsync();
        server.Host = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Authority;
        return server;
    }

    public static string Sha(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    public static byte[] Gzip(byte[] bytes)
    {
        using var output = new MemoryStream();
        using (var zip = new GZipStream(output, CompressionMode.Compress)) { zip.Write(bytes); }
        return output.ToArray();
    }

    public static byte[] Tar(params (string Name, byte[] Bytes)[] files)
    {
        using var output = new MemoryStream();
        using (var writer = new TarWriter(output, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach ((string name, byte[] bytes) in files) { writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(bytes) }); }
        }
        return output.ToArray();
    }

    /// <summary>Puts an image into the registry; returns the digest of its manifest.</summary>
    public string Push(string repository, string tag, params (string Type, byte[] Bytes)[] layers)
    {
        string entries = string.Join(',', layers.Select(l => $$"""{"mediaType":"{{l.Type}}","digest":"sha256:{{Sha(l.Bytes)}}","size":{{l.Bytes.Length}}}"""));
        byte[] manifest = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"layers":[{{entries}}]}""");
        foreach ((_, byte[] bytes) in layers) { Files[$"/v2/{repository}/blobs/sha256:{Sha(bytes)}"] = bytes; }
        Put(repository, tag, manifest, "application/vnd.oci.image.manifest.v1+json");
        return Sha(manifest);
    }

    public void Put(string repository, string tag, byte[] manifest, string type)
    {
        foreach (string path in new[] { $"/v2/{repository}/manifests/{tag}", $"/v2/{repository}/manifests/sha256:{Sha(manifest)}" }) { (Files[path], Types[path]) = (manifest, type); }
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task ServeAsync(HttpContext http)
    {
        string path = http.Request.Path.Value!;
        lock (Asked) { Asked.Add(path); }
        if (Failures-- > 0) { http.Response.StatusCode = 500; return; }
        if (Scripts.TryGetValue(path, out RequestDelegate? script)) { await script(http); return; }
        if (path == "/old") { http.Response.Redirect(Redirect!); return; }
        if (path == "/token")
        {
            bool known = http.Request.Headers.Authorization == $"Basic {Basic}" && http.Request.Query["scope"] == "repository:a/b:pull,push" && http.Request.Query["service"] == "reg";
            http.Response.StatusCode = known ? 200 : 403;
            await http.Response.WriteAsync("""{"token":"t0k"}""");
            return;
        }
        if (Basic is not null && path.StartsWith("/v2/", StringComparison.Ordinal) && http.Request.Headers.Authorization != "Bearer t0k")
        {
            http.Response.Headers.WWWAuthenticate = Challenge ?? $"Bearer realm=\"http://{Host}/token\",service=\"reg\",scope=\"repository:a/b:pull,push\"";
            http.Response.StatusCode = 401;
            return;
        }
        if (!Files.TryGetValue(path, out byte[]? bytes)) { http.Response.StatusCode = 404; return; }
        if (Types.TryGetValue(path, out string? type)) { http.Response.ContentType = type; }
        await http.Response.Body.WriteAsync(bytes);
    }
}
