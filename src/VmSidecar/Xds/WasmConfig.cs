using System.Text;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// What a Wasm filter's configuration says about its code, typed (envoy.extensions.filters.{http,network}.wasm.v3.Wasm) or inside a
/// TypedStruct, where names may be written in either of proto's two JSON spellings. Immutable; made by <see cref="Read"/>.
/// </summary>
internal sealed record WasmConfig
{
    /// <summary>The HTTP filter's configuration type.</summary>
    public const string HttpType = "envoy.extensions.filters.http.wasm.v3.Wasm";

    /// <summary>The network filter's configuration type.</summary>
    public const string NetworkType = "envoy.extensions.filters.network.wasm.v3.Wasm";

    private const ulong FailOpenPolicy = 3; // PluginConfig.failure_policy FAIL_OPEN

    /// <summary>A network filter, else an HTTP filter.</summary>
    public required bool IsNetwork { get; init; }

    /// <summary>vm_config.runtime, such as <c>envoy.wasm.runtime.v8</c>.</summary>
    public string Runtime { get; private set; } = "";

    /// <summary>vm_config.code.local.inline_string: for the null runtime the name of a plug-in compiled into Envoy.</summary>
    public string Inline { get; private set; } = "";

    /// <summary>vm_config.code is local.</summary>
    public bool IsLocal { get; private set; }

    /// <summary>vm_config.code is remote: a module to fetch.</summary>
    public bool IsRemote { get; private set; }

    /// <summary>Where the module is: <c>http</c>, <c>https</c> or <c>oci</c>.</summary>
    public string Uri { get; private set; } = "";

    /// <summary>The module's SHA-256 in hexadecimal, lower case; empty where none is given (istiod writes <c>nil</c> then).</summary>
    public string Sha256 { get; private set; } = "";

    /// <summary>Longest time the fetch may take; zero where none is given.</summary>
    public TimeSpan Timeout { get; private set; }

    /// <summary>fail_open or its successor failure_policy: traffic passes where the filter cannot work.</summary>
    public bool FailOpen { get; private set; }

    /// <summary>vm_config.environment_variables.key_values.</summary>
    public IReadOnlyDictionary<string, string> Environment => _environment;

    private readonly Dictionary<string, string> _environment = new(StringComparer.Ordinal);

    /// <summary>True for a filter of either kind.</summary>
    public static bool IsWasm(string type) => type is HttpType or NetworkType;

    /// <summary>Reads a filter configuration (an Any). Null: not a Wasm filter.</summary>
    public static WasmConfig? Read(ReadOnlySpan<byte> any)
    {
        string type = FilterHead.WithoutPrefix(ProtoField.Text(any, 1));
        ReadOnlySpan<byte> value = ProtoField.Last(any, 2);
        bool wrapped = FilterHead.IsTypedStruct(type);
        if (wrapped) { type = FilterHead.WithoutPrefix(ProtoField.Text(value, 1)); }
        if (!IsWasm(type)) { return null; }
        var found = new WasmConfig { IsNetwork = type == NetworkType };
        if (wrapped) { found.TakeStruct(StructValue.Inside(StructValue.Find(ProtoField.Last(value, 2), "config"))); }
        else { found.TakePlugin(ProtoField.Last(value, 1)); }
        if (found.Sha256 is "nil") { found.Sha256 = ""; }
        return found;
    }

    // PluginConfig: vm_config 3, fail_open 5, failure_policy 7.
    private void TakePlugin(ReadOnlySpan<byte> plugin)
    {
        FailOpen = ProtoField.Number(plugin, 5) != 0 || ProtoField.Number(plugin, 7) == FailOpenPolicy;
        ReadOnlySpan<byte> vm = ProtoField.Last(plugin, 3);
        Runtime = ProtoField.Text(vm, 2);
        ReadOnlySpan<byte> code = ProtoField.Last(vm, 3); // AsyncDataSource: local 1 (DataSource: inline_string 3), remote 2
        IsLocal = ProtoField.Has(code, 1);
        Inline = ProtoField.Text(ProtoField.Last(code, 1), 3);
        IsRemote = ProtoField.Has(code, 2);
        ReadOnlySpan<byte> remote = ProtoField.Last(code, 2); // RemoteDataSource: http_uri 1, sha256 2
        ReadOnlySpan<byte> http = ProtoField.Last(remote, 1); // HttpUri: uri 1, timeout 3
        Uri = ProtoField.Text(http, 1);
        Sha256 = ProtoField.Text(remote, 2).ToLowerInvariant();
        ReadOnlySpan<byte> timeout = ProtoField.Last(http, 3); // Duration: seconds 1, nanos 2
        Timeout = TimeSpan.FromSeconds(Math.Clamp((long)ProtoField.Number(timeout, 1), 0, 3600)) + TimeSpan.FromTicks((long)(ProtoField.Number(timeout, 2) / 100 % 10_000_000));
        var pairs = new ProtoReader(ProtoField.Last(vm, 7)); // EnvironmentVariables: key_values 2
        while (pairs.Next())
        {
            if (pairs.Is(2)) { _environment[ProtoField.Text(pairs.Bytes, 1)] = ProtoField.Text(pairs.Bytes, 2); }
        }
    }

    private void TakeStruct(ReadOnlySpan<byte> plugin)
    {
        FailOpen = StructValue.IsTrue(StructValue.Find(plugin, "fail_open")) || StructValue.Text(StructValue.Find(plugin, "failure_policy")) == "FAIL_OPEN";
        ReadOnlySpan<byte> vm = StructValue.Inside(StructValue.Find(plugin, "vm_config"));
        Runtime = StructValue.Text(StructValue.Find(vm, "runtime"));
        ReadOnlySpan<byte> code = StructValue.Inside(StructValue.Find(vm, "code"));
        ReadOnlySpan<byte> local = StructValue.Find(code, "local"), remote = StructValue.Find(code, "remote");
        (IsLocal, IsRemote) = (!local.IsEmpty, !remote.IsEmpty);
        Inline = StructValue.Text(StructValue.Find(StructValue.Inside(local), "inline_string"));
        ReadOnlySpan<byte> http = StructValue.Inside(StructValue.Find(StructValue.Inside(remote), "http_uri"));
        Uri = StructValue.Text(StructValue.Find(http, "uri"));
        Sha256 = StructValue.Text(StructValue.Find(StructValue.Inside(remote), "sha256")).ToLowerInvariant();
        Timeout = GoSeconds(StructValue.Text(StructValue.Find(http, "timeout")));
        ReadOnlySpan<byte> environment = StructValue.Inside(StructValue.Find(StructValue.Inside(StructValue.Find(vm, "environment_variables")), "key_values"));
        var pairs = new ProtoReader(environment);
        while (pairs.Next())
        {
            if (pairs.Is(1)) { _environment[Encoding.UTF8.GetString(ProtoField.Last(pairs.Bytes, 1))] = StructValue.Text(ProtoField.Last(pairs.Bytes, 2)); }
        }
    }

    // A Duration in proto's JSON: seconds with a fraction and an s.
    private static TimeSpan GoSeconds(string text) =>
        text.EndsWith('s') && double.TryParse(text[..^1], System.Globalization.NumberStyles.AllowDecimalPoint, System.Globalization.CultureInfo.InvariantCulture, out double seconds) && seconds >= 0 // not NaN either
            ? TimeSpan.FromSeconds(Math.Min(seconds, 3600))
            : TimeSpan.Zero;
}
