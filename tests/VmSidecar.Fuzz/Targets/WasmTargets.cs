using System.IO.Compression;
using VmSidecar.Fuzz.Engine;
using VmSidecar.Wasm;

namespace VmSidecar.Fuzz.Targets;

/// <summary>What registries and web servers send for a Wasm plug-in, and the secret to ask them with.</summary>
internal static class WasmTargets
{
    private const int MaxModule = 64 * 1024;

    public static IEnumerable<FuzzTarget> All { get; } =
    [
        new("oci-manifest", Manifest, FuzzTargets.Seeds(
            "{\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:abababababababababababababababababababababababababababababababab\"},{\"mediaType\":\"application/wasm\",\"digest\":\"sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\"}]}",
            "{\"manifests\":[{\"digest\":\"sha256:efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef\"}]}"), FuzzTargets.Words("\"layers\":", "\"manifests\":", "\"digest\":", "\"mediaType\":", "[]", "{}", "null", "[", "]", "{", "}", "1")),
        new("wasm-download", Download, () => [[0, (byte)'a', (byte)'s', (byte)'m', 1, 0, 0, 0], Zipped([0, (byte)'a', (byte)'s', (byte)'m']), Tar(), Zipped(Tar())], [0x1f, 0x8b, 8], FuzzTargets.Utf8("ustar"), FuzzTargets.Utf8("plugin.wasm")),
        new("pull-secret", Secret, FuzzTargets.Seeds("{\"auths\":{\"registry.example\":{\"auth\":\"YTpi\"}}}", "{\"https://registry.example/v1/\":{\"username\":\"a\",\"password\":\"b\"}}"),
            FuzzTargets.Words("\"auths\":", "\"auth\":", "\"username\":", "\"password\":", "\"identitytoken\":", "\"registrytoken\":", "registry.example", "\\n", "\\u0000", "null", "{", "}")),
        new("registry-token", Token, FuzzTargets.Seeds("{\"token\":\"abc\",\"access_token\":\"def\",\"expires_in\":300}"), FuzzTargets.Words("\"token\":", "\"access_token\":", "\\u0000", "\\ud800", "null", "{", "}", "[")),
        new("bearer-challenge", Challenge, FuzzTargets.Seeds("realm=\"https://auth.example/token\",service=\"registry\",scope=\"repository:a:pull,push\""), FuzzTargets.Words("realm=\"", "\",", "=\"", "scope=")),
    ];

    private static void Manifest(byte[] input)
    {
        foreach (string type in (ReadOnlySpan<string>)["", "application/vnd.oci.image.index.v1+json"])
        {
            try
            {
                (string? inner, IReadOnlyList<string> layers) = OciRegistry.Read(input, type, "a/b");
                FuzzTarget.Require(inner is not null || layers.Count > 0, "a manifest names something to fetch");
            }
            catch (ModuleException) { } // the refusal it may give
        }
    }

    private static void Download(byte[] input)
    {
        string folder = FuzzTargets.Folder(), download = Path.Combine(folder, "in"), module = Path.Combine(folder, "out");
        try
        {
            File.WriteAllBytes(download, input);
            ModuleUnpacker.UnpackAsync(download, module, MaxModule, CancellationToken.None).GetAwaiter().GetResult();
            FuzzTarget.Require(new FileInfo(module).Length is >= 4 and <= MaxModule, "a module has a head and a bound");
        }
        catch (ModuleException) { } // the refusal it may give
        finally
        {
            FuzzTarget.Require(Directory.GetFiles(folder, "*", SearchOption.AllDirectories).All(f => f == download || f.StartsWith(module, StringComparison.Ordinal)), "no other file is written");
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Secret(byte[] input)
    {
        try
        {
            RegistryCredentials found = PullSecret.For(FuzzTargets.Text(input), "registry.example");
            foreach (string header in (ReadOnlySpan<string>)[found.Basic, found.RegistryToken])
            {
                FuzzTarget.Require(header.Length == 0 || RegistryCredentials.IsHeaderToken(header), "credentials are one header");
                _ = new System.Net.Http.Headers.AuthenticationHeaderValue("Bearer", header);
            }
        }
        catch (ModuleException e) // the refusal it may give
        {
            FuzzTarget.Require(e.Message.StartsWith("the WasmPlugin's imagePullSecret cannot be used for registry.example: it", StringComparison.Ordinal), "the refusal is one known line");
        }
    }

    private static void Token(byte[] input) => FuzzTarget.Require(RegistryAuthorization.Token(input).Length <= input.Length, "a token is part of the answer");

    private static void Challenge(byte[] input) => FuzzTarget.Require(RegistryAuthorization.Parameters(FuzzTargets.Text(input)).Count <= input.Length, "no more parameters than bytes");

    private static byte[] Zipped(byte[] plain)
    {
        using var zipped = new MemoryStream();
        using (var stream = new GZipStream(zipped, CompressionLevel.Fastest)) { stream.Write(plain); }
        return zipped.ToArray();
    }

    private static byte[] Tar()
    {
        using var tar = new MemoryStream();
        using (var writer = new System.Formats.Tar.TarWriter(tar, System.Formats.Tar.TarEntryFormat.Ustar, leaveOpen: true))
        {
            writer.WriteEntry(new System.Formats.Tar.UstarTarEntry(System.Formats.Tar.TarEntryType.RegularFile, "plugin.wasm") { DataStream = new MemoryStream([0, (byte)'a', (byte)'s', (byte)'m']) });
        }
        return tar.ToArray();
    }
}
