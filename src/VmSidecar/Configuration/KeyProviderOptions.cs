using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>proxyConfig.privateKeyProvider: Envoy hands private-key operations to an accelerator (CryptoMB or QAT) instead of its own TLS library.</summary>
/// <param name="Name">provider_name, <c>cryptomb</c> or <c>qat</c>.</param>
/// <param name="TypeUrl">Type of its configuration.</param>
/// <param name="PollDelay">How long requests are gathered; above zero.</param>
/// <param name="Fallback">Use Envoy's own library where the hardware is missing.</param>
internal sealed record KeyProviderOptions(string Name, string TypeUrl, TimeSpan PollDelay, bool Fallback)
{
    private const string Prefix = "type.googleapis.com/envoy.extensions.private_key_providers.";

    /// <summary>Null when the field is not set, or is a mistake that has then been reported.</summary>
    public static KeyProviderOptions? Read(SettingReader settings)
    {
        if (settings.Proxy.Value["privateKeyProvider"] is not JsonObject field || field.Count == 0) { return null; }
        var setting = new Setting(field.ToJsonString(), settings.Proxy.OriginOf("privateKeyProvider"));
        settings.Note("privateKeyProvider", setting.Value, setting.Origin);
        (string name, JsonNode? config) = field.First();
        string? type = name switch
        {
            "cryptomb" => Prefix + "cryptomb.v3alpha.CryptoMbPrivateKeyMethodConfig",
            "qat" => Prefix + "qat.v3alpha.QatPrivateKeyMethodConfig",
            _ => null,
        };
        if (type is null || field.Count > 1) { return settings.Mistake<KeyProviderOptions?>("privateKeyProvider", setting, "names no single provider that Envoy knows", "Write cryptomb or qat with pollDelay, or remove the field", null); }
        string delay = (config?["pollDelay"] ?? config?["poll_delay"])?.ToString() ?? "";
        return GoValue.TryDuration(delay, out TimeSpan poll) && poll > TimeSpan.Zero
            ? new KeyProviderOptions(name, type, poll, config?["fallback"]?.ToString() == "true")
            : settings.Mistake<KeyProviderOptions?>("privateKeyProvider", setting, "has no pollDelay above zero", "Write one such as 10ms, or remove the field", null);
    }
}
