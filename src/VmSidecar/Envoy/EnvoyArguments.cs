using System.Globalization;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>Envoy's command line. Pure. Envoy ends at once on an argument it does not know, so each is given only where the version has it.</summary>
internal static class EnvoyArguments
{
    private const string TextFormat = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n\t%v";
    private const string JsonFormat = """{"level":"%l","time":"%Y-%m-%dT%T.%fZ","scope":"envoy %n","msg":"%j"}""";

    /// <param name="options">Settings.</param>
    /// <param name="version">Of the executable.</param>
    /// <param name="bootstrapPath">The generated file, or customConfigFile.</param>
    /// <param name="epoch">Of a hot restart; 0: the first.</param>
    public static IReadOnlyList<string> For(EnvoyOptions options, EnvoyVersion version, string bootstrapPath, int epoch = 0)
    {
        var arguments = new List<string> { "-c", bootstrapPath };
        bool epochs = options.HotRestart || !version.IsAtLeast(20);
        if (epochs) { arguments.AddRange(["--restart-epoch", epoch.ToString(CultureInfo.InvariantCulture)]); }
        arguments.AddRange(["--drain-time-s", Seconds(options.DrainDuration), "--drain-strategy", "immediate"]);
        if (epochs) { arguments.AddRange(["--parent-shutdown-time-s", Seconds(ParentShutdown(options))]); }
        if (!version.IsAtLeast(20)) { arguments.AddRange(["--service-cluster", options.Node.Cluster, "--service-node", options.Node.Id]); }
        arguments.AddRange(["--local-address-ip-version", options.Localhost == "::1" ? "v6" : "v4"]);
        if (!version.IsAtLeast(20)) { arguments.AddRange(["--bootstrap-version", "3"]); }
        arguments.AddRange(["--file-flush-interval-msec", FlushInterval(options)]); // Envoy's own 10 s hides access log lines for as long
        if (options.HotRestart) { arguments.AddRange(["--base-id", BaseId(options)]); } else { arguments.Add("--disable-hot-restart"); }
        if (version.IsAtLeast(20)) { arguments.Add("--allow-unknown-static-fields"); }
        if (!EnvoyBootstrap.HasLogFormat(version)) { arguments.AddRange(["--log-format", options.JsonLogs ? JsonFormat : TextFormat]); }
        AddFlushSize(arguments, options, version);
        if (options.LogLevel.Length > 0) { arguments.AddRange(["-l", options.LogLevel]); }
        if (options.ComponentLogLevel.Length > 0) { arguments.AddRange(["--component-log-level", options.ComponentLogLevel]); }
        if (options.SkipDeprecatedLogs && version.IsAtLeast(34)) { arguments.Add("--skip-deprecated-logs"); }
        if (options.CoreDump && version.IsAtLeast(27)) { arguments.Add("--enable-core-dump"); }
        if (options.BootstrapOverride is { Length: > 0 } text) { arguments.AddRange(["--config-yaml", text]); }
        if (options.Concurrency > 0) { arguments.AddRange(["--concurrency", options.Concurrency.ToString(CultureInfo.InvariantCulture)]); }
        return arguments;
    }

    /// <summary>How long an Envoy lives on after another has taken over: longer than it drains.</summary>
    public static TimeSpan ParentShutdown(EnvoyOptions options) => options.DrainDuration + TimeSpan.FromSeconds(15);

    /// <summary>Names the shared memory and the sockets of a hot restart. The same at each start, so that nothing piles up in /dev/shm, and another for another agent of this host.</summary>
    private static string BaseId(EnvoyOptions options)
    {
        uint hash = 2166136261; // FNV-1a
        foreach (char c in options.ConfigDirectory) { hash = (hash ^ c) * 16777619; }
        return (1 + (hash % 99_999)).ToString(CultureInfo.InvariantCulture);
    }

    private static string FlushInterval(EnvoyOptions options) =>
        options.ProxyConfig["fileFlushInterval"]?.ToString() is { } text && GoValue.TryDuration(text, out TimeSpan interval) && interval > TimeSpan.Zero
            ? ((long)interval.TotalMilliseconds).ToString(CultureInfo.InvariantCulture) : "1000";

    private static void AddFlushSize(List<string> arguments, EnvoyOptions options, EnvoyVersion version)
    {
        if (options.ProxyConfig["fileFlushMinSizeKb"]?.ToString() is { } size && version.IsAtLeast(37)) { arguments.AddRange(["--file-flush-min-size-kb", size]); }
    }

    private static string Seconds(TimeSpan time) => ((long)time.TotalSeconds).ToString(CultureInfo.InvariantCulture);
}
