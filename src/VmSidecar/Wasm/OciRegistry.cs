using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;

namespace VmSidecar.Wasm;

/// <summary>
/// Speaks to one registry about one image (OCI distribution specification): manifest, then the layer that holds the module. Three
/// kinds of image are known: an artifact whose layer is the module, an OCI image and a Docker image with plugin.wasm in a layer. One per fetch.
/// </summary>
internal sealed class OciRegistry(ModuleHttp http, OciReference image, string pullSecret)
{
    private const int LargestManifest = 4 * 1024 * 1024; // what registries accept at most
    private const string OciIndex = "application/vnd.oci.image.index.v1+json", DockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
    private static readonly string[] Manifests =
        ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json", OciIndex, DockerList];
    private static readonly string[] ModuleLayers =
        ["application/vnd.module.wasm.content.layer.v1+wasm", "application/vnd.wasm.content.layer.v1+wasm", "application/wasm"];

    private static readonly SearchValues<char> Hexadecimal = SearchValues.Create("0123456789abcdef");

    private AuthenticationHeaderValue? _authorization;
    private string _scheme = "";

    /// <summary>The digest of the image's manifest (hexadecimal SHA-256) and the digests of the layers to look into, likeliest first.</summary>
    public async Task<(string Digest, IReadOnlyList<string> Layers)> ResolveAsync(CancellationToken stop)
    {
        (byte[] bytes, string type) = await ManifestAsync(image.Tag, stop);
        string digest = Convert.ToHexStringLower(SHA256.HashData(bytes));
        if (image.IsDigest && image.Tag != "sha256:" + digest) { throw new ModuleException(ModuleFailure.Checksum, $"the registry sent a manifest with digest {digest} for {image.Tag}"); }
        (string? inner, IReadOnlyList<string> layers) = Read(bytes, type, image.Repository);
        if (inner is null) { return (digest, layers); }
        (byte[] chosen, _) = await ManifestAsync(inner, stop);
        if ("sha256:" + Convert.ToHexStringLower(SHA256.HashData(chosen)) != inner) { throw new ModuleException(ModuleFailure.Checksum, $"the registry sent another manifest for {inner}"); }
        return (digest, Read(chosen, "", image.Repository, isIndex: false).Layers);
    }

    /// <summary>
    /// What a manifest says: the layers to look into, or, for an index (several platforms), the digest of its first manifest. Throws
    /// <see cref="ModuleException"/> for what is none. Pure. <paramref name="isIndex"/>: null where the type or the content has to tell.
    /// </summary>
    internal static (string? Inner, IReadOnlyList<string> Layers) Read(byte[] bytes, string type, string repository, bool? isIndex = null)
    {
        try
        {
            using JsonDocument manifest = JsonDocument.Parse(bytes);
            if (!(isIndex ?? IsIndex(type, manifest.RootElement))) { return (null, Layers(manifest.RootElement)); }
            return (Digest(manifest.RootElement.GetProperty("manifests").EnumerateArray().First().GetProperty("digest").GetString() ?? ""), []);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new ModuleException(ModuleFailure.Manifest, $"the manifest of {repository} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Saves a layer, checked against its digest.</summary>
    public async Task SaveAsync(string layer, string file, CancellationToken stop)
    {
        using HttpResponseMessage response = await GetAsync($"blobs/{layer}", [], ModuleFailure.Download, stop);
        string found = await http.SaveAsync(response, file, stop);
        if (layer != "sha256:" + found) { throw new ModuleException(ModuleFailure.Checksum, $"the registry sent something else for layer {layer}"); }
    }

    private static bool IsIndex(string type, JsonElement manifest) =>
        type is OciIndex or DockerList || (!manifest.TryGetProperty("layers", out _) && manifest.TryGetProperty("manifests", out _));

    private static List<string> Layers(JsonElement manifest)
    {
        List<(string Type, string Digest)> layers =
            [.. manifest.GetProperty("layers").EnumerateArray().Select(l => (l.GetProperty("mediaType").GetString() ?? "", l.GetProperty("digest").GetString() ?? ""))];
        layers.Reverse(); // the last layer wins
        List<string> chosen = [.. layers.Where(l => ModuleLayers.Contains(l.Type)).Select(l => l.Digest)];
        if (chosen.Count == 0) { chosen = [.. layers.Select(l => l.Digest)]; }
        return chosen.Count > 0 ? [.. chosen.Select(Digest)] : throw new ModuleException(ModuleFailure.Manifest, "the image has no layer");
    }

    // It becomes part of an address, and nothing but SHA-256 can be checked here.
    private static string Digest(string text) =>
        text.Length == "sha256:".Length + 64 && text.StartsWith("sha256:", StringComparison.Ordinal) && !text.AsSpan("sha256:".Length).ContainsAnyExcept(Hexadecimal)
            ? text
            : throw new InvalidOperationException("it names something by a digest that is no sha256");

    private async Task<(byte[] Bytes, string Type)> ManifestAsync(string tag, CancellationToken stop)
    {
        using HttpResponseMessage response = await GetAsync($"manifests/{tag}", Manifests, ModuleFailure.Manifest, stop);
        byte[] bytes = await ModuleHttp.ReadAsync(response, LargestManifest, "its manifest", stop);
        return (bytes, response.Content.Headers.ContentType?.MediaType ?? "");
    }

    private async Task<HttpResponseMessage> GetAsync(string path, string[] accept, ModuleFailure failure, CancellationToken stop)
    {
        HttpResponseMessage response = await SendAsync(path, accept, stop);
        if (response.StatusCode == HttpStatusCode.Unauthorized)
        {
            AuthenticationHeaderValue[] challenges = [.. response.Headers.WwwAuthenticate];
            response.Dispose();
            _authorization = await new RegistryAuthorization(http, image.Registry, pullSecret, MayBePlain).AnswerAsync(challenges, stop);
            response = await SendAsync(path, accept, stop);
        }
        if (response.IsSuccessStatusCode) { return response; }
        using (response)
        {
            string why = response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden
                ? pullSecret.Length == 0 ? "; the WasmPlugin names no imagePullSecret" : "; check the WasmPlugin's imagePullSecret"
                : "";
            throw new ModuleException(failure, $"{image.Registry} answers {ModuleHttp.Answer(response)} for {image.Repository}/{path}{why}");
        }
    }

    private async Task<HttpResponseMessage> SendAsync(string path, string[] accept, CancellationToken stop)
    {
        if (_scheme.Length == 0) { _scheme = await SchemeAsync(stop); }
        return await http.SendAsync(() => Request(path, accept), stop);
    }

    /// <summary>TLS, except where an insecure or local registry speaks none: asked once, by its base address.</summary>
    private async Task<string> SchemeAsync(CancellationToken stop)
    {
        var secure = new Uri($"https://{image.Registry}/v2/");
        if (!MayBePlain(secure)) { return "https"; }
        try
        {
            using HttpResponseMessage answer = await http.SendAsync(() => new HttpRequestMessage(HttpMethod.Get, secure), stop, attempts: 1);
            return "https";
        }
        catch (ModuleException) { return "http"; }
    }

    private bool MayBePlain(Uri uri) => http.IsInsecure(uri) || uri.IsLoopback;

    private HttpRequestMessage Request(string path, string[] accept)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, $"{_scheme}://{image.Registry}/v2/{image.Repository}/{path}");
        foreach (string type in accept) { request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(type)); }
        request.Headers.Authorization = _authorization;
        return request;
    }
}
