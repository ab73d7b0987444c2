using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="XdsOptions"/> and <see cref="WasmOptions"/>.</summary>
internal static class XdsSettings
{
    private const int LargestMessage = 200 * 1024 * 1024; // a mesh of 40,000 clusters in one push; istiod's own limit for requests is 4 MiB
    private const int SmallestMessage = 1024 * 1024;      // below it Envoy's first request or a small mesh fails

    public static XdsOptions Read(SettingReader settings, HostPaths paths, NodeOptions node, bool names, string socket)
    {
        bool delta = settings.Bool("ISTIO_DELTA_XDS", true);
        if (!settings.Bool("PROXY_XDS_VIA_AGENT", true))
        {
            settings.Environment.TryGet("PROXY_XDS_VIA_AGENT", out Setting setting);
            settings.Warn("PROXY_XDS_VIA_AGENT", setting.Origin, "Envoy always talks to istiod through the agent; the setting is ignored", "Remove the line");
        }
        int largest = settings.Integer("VMSIDECAR_XDS_MAX_MESSAGE", LargestMessage, SmallestMessage);
        return new()
        {
            Socket = socket,
            DiscoveryAddress = settings.Proxy.Value["discoveryAddress"]?.ToString() ?? "",
            ServerName = settings.Text("ISTIOD_SAN", "") is { Length: > 0 } san ? san : null,
            Plaintext = settings.FieldText("controlPlaneAuthPolicy") == "NONE",
            SubscribeNames = names,
            SubscribeTrust = settings.Bool("PROXY_CONFIG_XDS_AGENT", false),
            Delta = settings.Environment.NonEmpty("ISTIO_DELTA_XDS") is null ? null : delta,
            StateDirectory = paths.State,
            MaxMessage = largest,
            MaxRequest = settings.Integer("ISTIO_GPRC_MAXRECVMSGSIZE", largest, SmallestMessage),
            OfflineMaxAge = settings.Duration("VMSIDECAR_OFFLINE_MAX_AGE", TimeSpan.FromHours(24)),
            GrpcBootstrapFile = settings.Text("GRPC_XDS_BOOTSTRAP", "./etc/istio/proxy/grpc-bootstrap.json") is { Length: > 0 } file ? paths.At(file) : null,
            Wasm = Wasm(settings, paths),
            Node = node,
        };
    }

    private static WasmOptions Wasm(SettingReader settings, HostPaths paths) => new()
    {
        Enabled = settings.Bool("ISTIO_AGENT_ENABLE_WASM_REMOTE_LOAD_CONVERSION", true),
        Directory = paths.Data,
        RequestTimeout = settings.Wait("WASM_HTTP_REQUEST_TIMEOUT", TimeSpan.FromSeconds(15), least: TimeSpan.FromMilliseconds(1)),
        Attempts = settings.Integer("WASM_HTTP_REQUEST_MAX_RETRIES", 5, least: 1),
        PurgeInterval = settings.Wait("WASM_PURGE_INTERVAL", TimeSpan.FromHours(1)),
        Expiry = settings.Duration("WASM_MODULE_EXPIRY", TimeSpan.FromHours(24)),
        MaxBytes = settings.Integer("ISTIO_WASM_MAX_BINARY_SIZE_BYTES", 256 * 1024 * 1024, least: 1),
        InsecureRegistries = Words(settings.Text("WASM_INSECURE_REGISTRIES", "")),
        Blocked = Blocked(settings),
    };

    private static ImmutableArray<IPNetwork> Blocked(SettingReader settings)
    {
        const string Name = "BLOCKED_CIDRS_IN_WASM_FETCH";
        var blocked = ImmutableArray.CreateBuilder<IPNetwork>();
        foreach (string word in Words(settings.Text(Name, "")))
        {
            if (IPNetwork.TryParse(word, out IPNetwork network)) { blocked.Add(network); continue; }
            settings.Environment.TryGet(Name, out Setting setting);
            settings.Mistake(Name, setting, $"has '{word}', which is not a network", "Write networks such as 10.0.0.0/8, separated by commas", 0);
        }
        return blocked.ToImmutable();
    }

    private static ImmutableArray<string> Words(string list) => [.. list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)];
}
