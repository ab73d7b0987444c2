using System.Runtime.InteropServices;

using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.MiniEnvoy.Traffic;
using VmSidecar.MiniEnvoy.Xds;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>Start and end of the process: (1) arguments, (2) bootstrap, (3) static listeners and admin, (4) ADS, (5) a signal or quitquitquit. Exit codes are Envoy's.</summary>
internal static class MiniEnvoyApp
{
    public const string Version = "mini-envoy  version: 0000000000000000000000000000000000000000/1.40.0/Clean/RELEASE/SslStream";

    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter errors)
    {
        if (!Arguments.TryParse(args, out Arguments arguments, out string error)) // 1
        {
            await errors.WriteLineAsync(error);
            return 1;
        }
        if (arguments.Version)
        {
            await output.WriteLineAsync("\n" + Version + "\n");
            return 0;
        }
        var log = new EnvoyLog(errors, arguments.LogLevel, arguments.LogFormat);
        try
        {
            Bootstrap bootstrap = new BootstrapReader(arguments.AllowUnknownStaticFields).Read(await ReadAsync(arguments)); // 2
            if (bootstrap.LogFormat is not null && arguments.LogFormat is not null)
            {
                throw new BootstrapException("Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.");
            }
            if (bootstrap.LogFormat is { } format) { log = new EnvoyLog(errors, arguments.LogLevel, format); }
            if (arguments.Mode != "serve")
            {
                await output.WriteLineAsync($"configuration '{arguments.ConfigPath}' OK");
                return 0;
            }
            return await ServeAsync(arguments, bootstrap, log, output);
        }
        catch (BootstrapException e)
        {
            log.Write("critical", "main", $"error initializing config '{arguments.ConfigYaml} {arguments.ConfigPath}': {e.Message}");
            return 1;
        }
    }

    private static async Task<int> ServeAsync(Arguments arguments, Bootstrap bootstrap, EnvoyLog log, TextWriter output)
    {
        using var stop = new CancellationTokenSource();
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using PosixSignalRegistration term = On(PosixSignal.SIGTERM), interrupt = On(PosixSignal.SIGINT);
        var stats = new StatStore(bootstrap.StatPatterns);
        await using var secrets = new SecretStore(bootstrap, log, stop.Token);
        var clusters = new ClusterSet(bootstrap, secrets, stats);
        var drain = new DrainState(TimeSpan.FromSeconds(arguments.DrainSeconds));
        var proxy = new ConnectionProxy(clusters, stats, drain, new AccessLog(output));
        await using var listeners = new ListenerSet(bootstrap, secrets, stats, proxy.HandleAsync, log); // 3: binds, does not accept yet
        var state = new ServerState(arguments, bootstrap, clusters, listeners, secrets, stats, drain, log) { Quit = ended };
        await using var admin = new AdminServer(state);
        await admin.StartAsync(stop.Token);
        var ads = new AdsClient(bootstrap, clusters, listeners, stats, log);
        Task running = ads.RunAsync(stop.Token); // 4
        await Task.WhenAny(ended.Task, running); // 5
        await stop.CancelAsync();
        return running.IsFaulted ? 1 : 0;

        PosixSignalRegistration On(PosixSignal signal) => PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            log.Write("warning", "main", $"caught ENVOY_{signal}");
            ended.TrySetResult();
        });
    }

    private static async Task<string> ReadAsync(Arguments arguments)
    {
        if (arguments.ConfigPath.Length == 0)
        {
            return arguments.ConfigYaml.Length > 0 ? arguments.ConfigYaml : throw new BootstrapException("At least one of --config-path or --config-yaml or Options::configProto() should be non-empty");
        }
        string json;
        try { json = await File.ReadAllTextAsync(arguments.ConfigPath); }
        catch (IOException) { throw new BootstrapException($"unable to read file: {arguments.ConfigPath}"); }
        catch (UnauthorizedAccessException) { throw new BootstrapException($"unable to read file: {arguments.ConfigPath}"); }
        return arguments.ConfigYaml.Length > 0 ? BootstrapOverride.Merge(json, arguments.ConfigYaml) : json;
    }
}
