using Microsoft.Extensions.Logging;

using VmSidecar.Metrics;
using VmSidecar.Wasm;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Makes discovered Wasm filters loadable: a module named by address is fetched and becomes a local file. Where it cannot be had, a filter that lets all
/// pass or nothing takes its place, as the filter's own failure policy says. Shared by all streams; owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class WasmConverter(IWasmModules modules, MetricRegistry metrics, TimeProvider time, ILogger log)
{
    private const string Count = "wasm_config_conversion_count", Help = "number of Wasm config conversion count and results, including success, no remote load, marshal failure, remote fetch failure, miss remote fetch hint.";
    private const string Settings = "ISTIO_META_WASM_";

    private readonly Counter _success = metrics.Counter(Count, Help, "result=\"success\""), _local = metrics.Counter(Count, Help, "result=\"no_remote_load\"");
    private readonly Counter _failed = metrics.Counter(Count, Help, "result=\"fetch_failure\""), _broken = metrics.Counter(Count, Help, "result=\"unmarshal_failure\"");
    private readonly Counter _noHint = metrics.Counter(Count, Help, "result=\"miss_remote_fetch_hint\"");
    private readonly Histogram _took = metrics.Histogram("wasm_config_conversion_duration", "Total time in milliseconds istio-agent spends on converting remote load in Wasm config.", [.. Enumerable.Range(0, 15).Select(n => Math.Pow(2, n))]);
    private int _said;

    /// <summary>True when a response of discovered filters may hold a Wasm filter; a scan, no parse.</summary>
    public static bool Concerns(XdsEnvelope response, ReadOnlySpan<byte> message) => response.TypeUrl == XdsTypeUrl.Extension && message.IndexOf(".wasm.v3.Wasm"u8) >= 0;

    /// <summary>
    /// Converts one response. <c>Converted</c> is null when no byte changes; <c>Error</c>, when not null, refuses it in the agent's name. Throws only for <paramref name="stop"/>.
    /// </summary>
    public async Task<(byte[]? Converted, string? Error)> ConvertAsync(XdsEnvelope response, ReadOnlyMemory<byte> message, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        if (!TryCollect(response, message.Span, out List<Found> filters, out string problem))
        {
            _broken.Add();
            return (null, problem);
        }
        if (filters.Find(f => f.Wasm is { IsLocal: false, IsRemote: false }) is { } hollow)
        {
            _noHint.Add();
            return (null, $"wasm config of {hollow.Name} has neither remote nor local code");
        }
        if (filters.Count > 0 && Interlocked.Exchange(ref _said, 1) == 0) { XdsLog.WasmArrived(log, filters[0].Name); }
        byte[]?[] replaced = await Task.WhenAll(filters.Select(f => ReplaceAsync(f, stop)));
        _took.Record(time.GetElapsedTime(begin).TotalMilliseconds);
        Dictionary<int, byte[]> changes = [];
        for (int i = 0; i < filters.Count; i++)
        {
            if (replaced[i] is { } bytes) { changes[filters[i].Index] = bytes; }
        }
        return (changes.Count == 0 ? null : Rewrite(response, message.Span, changes), null);
    }

    private async Task<byte[]?> ReplaceAsync(Found filter, CancellationToken stop)
    {
        WasmConfig wasm = filter.Wasm;
        if (!wasm.IsRemote)
        {
            _local.Add();
            return null;
        }
        WasmModuleResult module = await modules.GetAsync(new WasmModuleRequest(filter.Name, wasm.Uri, wasm.Sha256, wasm.Timeout)
        {
            PullSecret = wasm.Environment.GetValueOrDefault(Settings + "IMAGE_PULL_SECRET", ""),
            PullPolicy = wasm.Environment.GetValueOrDefault(Settings + "IMAGE_PULL_POLICY", ""),
            Version = wasm.Environment.GetValueOrDefault(Settings + "PLUGIN_RESOURCE_VERSION", ""),
        }, stop);
        if (module.File is { } file)
        {
            _success.Add();
            return WasmRewriter.ToLocal(filter.Config, file);
        }
        _failed.Add();
        XdsLog.WasmReplaced(log, filter.Name, wasm.FailOpen ? "all traffic passes it" : "no traffic passes it");
        return WasmRewriter.Replacement(wasm.IsNetwork, wasm.FailOpen);
    }

    /// <summary>The Wasm filters among the resources, by their place. False when a resource cannot be read.</summary>
    private static bool TryCollect(XdsEnvelope response, ReadOnlySpan<byte> message, out List<Found> filters, out string problem)
    {
        filters = [];
        problem = "";
        int field = XdsEnvelope.ResourcesField(response.Kind), index = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (!reader.Is(field)) { continue; }
            ReadOnlySpan<byte> any = response.Kind == XdsMessageKind.DeltaResponse ? ProtoField.Last(reader.Bytes, 2) : reader.Bytes;
            ReadOnlySpan<byte> extension = ProtoField.Last(any, 2); // TypedExtensionConfig: name 1, typed_config 2
            if (!IsWhole(any) || !IsWhole(extension))
            {
                problem = $"failed to unmarshal extension config {index}: it is no TypedExtensionConfig";
                return false;
            }
            ReadOnlySpan<byte> config = ProtoField.Last(extension, 2);
            if (WasmConfig.Read(config) is { } wasm) { filters.Add(new Found(index, ProtoField.Text(extension, 1), config.ToArray(), wasm)); }
            index++;
        }
        return true;
    }

    private static bool IsWhole(ReadOnlySpan<byte> message)
    {
        var reader = new ProtoReader(message);
        while (reader.Next()) { }
        return !reader.IsMalformed;
    }

    private static byte[]? Rewrite(XdsEnvelope response, ReadOnlySpan<byte> message, Dictionary<int, byte[]> changes)
    {
        int index = 0;
        FieldRewriter.Visit any = body =>
        {
            if (!changes.TryGetValue(index, out byte[]? config)) { return Rewritten.Same; }
            return FieldRewriter.Walk(body, n => n == 2 ? extension => FieldRewriter.Walk(extension, m => m == 2 ? _ => Rewritten.Changed(config) : null) : null);
        };
        FieldRewriter.Visit resource = body =>
        {
            Rewritten done = response.Kind == XdsMessageKind.DeltaResponse ? FieldRewriter.Walk(body, n => n == 2 ? any : null) : any(body);
            index++;
            return done;
        };
        int field = XdsEnvelope.ResourcesField(response.Kind);
        return FieldRewriter.Walk(message, n => n == field ? resource : null).Of(message);
    }

    private sealed record Found(int Index, string Name, byte[] Config, WasmConfig Wasm);
}
