using System.Text.Json;
using System.Text.Json.Nodes;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;

namespace VmSidecar.Xds;

/// <summary>The bootstrap of proxyless gRPC clients on this host: the relay's socket, the node, the certificates on disk (reference 03 §10).</summary>
internal static class GrpcBootstrap
{
    private const UnixFileMode Readable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead; // 0644: it holds no secret

    /// <summary>Writes the document where the options say. A failure is said and costs only proxyless clients: no reason to keep Envoy from its configuration.</summary>
    public static async Task WriteAsync(XdsOptions options, ILogger log, CancellationToken startup)
    {
        if (options.GrpcBootstrapFile is not { } file) { return; }
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await AtomicFile.WriteAsync(file, System.Text.Encoding.UTF8.GetBytes(Render(options, options.GrpcCertificates)), Readable, startup);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            XdsLog.NoGrpcBootstrap(log, e.Message);
        }
    }

    /// <summary>
    /// The document, two-space JSON. <paramref name="certificates"/> is OUTPUT_CERTS; null: no certificate provider is named. Paths are
    /// written absolute, so that a client's working directory does not matter.
    /// </summary>
    public static string Render(XdsOptions options, string? certificates)
    {
        NodeOptions node = options.Node;
        var metadata = (JsonObject)node.Metadata.DeepClone();
        metadata["GENERATOR"] = "grpc";
        var document = new JsonObject
        {
            ["xds_servers"] = new JsonArray(new JsonObject
            {
                ["server_uri"] = "unix://" + Path.GetFullPath(options.Socket),
                ["channel_creds"] = new JsonArray(new JsonObject { ["type"] = "insecure" }),
                ["server_features"] = new JsonArray("xds_v3"),
            }),
            ["node"] = new JsonObject { ["id"] = node.Id, ["metadata"] = metadata, ["locality"] = Locality(node) },
            ["certificate_providers"] = certificates is null ? new JsonObject() : new JsonObject { ["default"] = Provider(certificates) },
            ["server_listener_resource_name_template"] = "xds.istio.io/grpc/lds/inbound/%s",
        };
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true })) { document.WriteTo(writer); }
        return System.Text.Encoding.UTF8.GetString(bytes.ToArray());
    }

    private static JsonObject Locality(NodeOptions node)
    {
        var locality = new JsonObject();
        if (node.Region.Length > 0) { locality["region"] = node.Region; }
        if (node.Zone.Length > 0) { locality["zone"] = node.Zone; }
        if (node.SubZone.Length > 0) { locality["sub_zone"] = node.SubZone; }
        return locality;
    }

    private static JsonObject Provider(string folder) => new()
    {
        ["plugin_name"] = "file_watcher",
        ["config"] = new JsonObject
        {
            ["certificate_file"] = Path.GetFullPath(Path.Combine(folder, "cert-chain.pem")),
            ["private_key_file"] = Path.GetFullPath(Path.Combine(folder, "key.pem")),
            ["ca_certificate_file"] = Path.GetFullPath(Path.Combine(folder, "root-cert.pem")),
            ["refresh_interval"] = "900s",
        },
    };
}
