using System.Text.Json.Nodes;

namespace VmSidecar.Envoy;

/// <summary>Small pieces of Envoy's API that the bootstrap repeats.</summary>
internal static class EnvoyJson
{
    public const string TypePrefix = "type.googleapis.com/";

    public static JsonObject Socket(string address, int port) => new() { ["socket_address"] = new JsonObject { ["address"] = address, ["port_value"] = port } };

    public static JsonObject Pipe(string path) => new() { ["pipe"] = new JsonObject { ["path"] = path } };

    public static JsonObject GrpcService(string cluster) => new() { ["envoy_grpc"] = new JsonObject { ["cluster_name"] = cluster } };

    /// <summary>A load assignment with one endpoint.</summary>
    public static JsonObject Endpoint(string cluster, JsonObject address) => new()
    {
        ["cluster_name"] = cluster,
        ["endpoints"] = new JsonArray(new JsonObject
        {
            ["lb_endpoints"] = new JsonArray(new JsonObject { ["endpoint"] = new JsonObject { ["address"] = address } }),
        }),
    };

    /// <summary>HTTP/2 without upgrade, as gRPC wants it.</summary>
    public static JsonObject Http2() => new()
    {
        ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = new JsonObject
        {
            ["@type"] = TypePrefix + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            ["explicit_http_config"] = new JsonObject { ["http2_protocol_options"] = new JsonObject() },
        },
    };
}
