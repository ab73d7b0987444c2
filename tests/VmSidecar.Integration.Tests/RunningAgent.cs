using System.Collections.Immutable;
using System.Net;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Onboarding;

namespace VmSidecar.Integration.Tests;

/// <summary>
/// The whole SidecarApp in this process, from real onboarding files in a root folder of its own, against a FakeIstiod. Without
/// an Envoy process: a test plays Envoy on the agent's sockets. Stop it with <see cref="StopAsync"/>; dispose removes the folder.
/// </summary>
internal sealed class RunningAgent : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly SidecarApp _app;
    private readonly SystemdNotify _systemd;
    private readonly List<GrpcChannel> _channels = [];

    private RunningAgent(SidecarOptions options, Func<SidecarOptions, CancellationToken, Task<SidecarOptions>>? settled, string? notify, AgentEstate? estate)
    {
        _systemd = new SystemdNotify(notify);
        Options = options;
        _app = new SidecarApp(options, new SidecarHost(TimeProvider.System, Log, _ => { }, _systemd, "/usr/bin:/bin", TimeProvider.System.GetUtcNow())
        {
            Estate = estate,
            Settled = settled is null ? null : startup => settled(options, startup),
        });
    }

    public SidecarOptions Options { get; }

    public LogWatch Log { get; } = new();

    /// <summary>Ends with the exit code.</summary>
    public Task<ExitCode> Ended { get; private set; } = Task.FromResult(ExitCode.Stopped);

    public IPEndPoint Dns => Options.Dns.Listen[0];

    public string StatusUrl => $"http://127.0.0.1:{Options.Status.Port}";

    /// <summary>Reads the files below <paramref name="root"/> and starts; <paramref name="change"/> has the last word on the options, <paramref name="settled"/> is what the rest waits for after DNS, <paramref name="notify"/> systemd's socket, <paramref name="estate"/> what an agent before has left; with <paramref name="isToStop"/> the stop request is there first.</summary>
    public static RunningAgent Start(
        string root, FakeIstiod istiod, Func<SidecarOptions, SidecarOptions>? change = null, Func<SidecarOptions, CancellationToken, Task<SidecarOptions>>? settled = null, string? notify = null, AgentEstate? estate = null, bool isToStop = false)
    {
        SidecarOptions options = OptionsFor(root, istiod);
        var agent = new RunningAgent(change?.Invoke(options) ?? options, settled, notify, estate);
        if (isToStop) { agent._stop.Cancel(); }
        agent.Ended = agent._app.RunAsync(agent._stop.Token);
        return agent;
    }

    /// <summary>A root folder with the files an operator would have copied.</summary>
    public static string Onboard(FakeIstiod istiod, string? token = null, string? roots = null)
    {
        string root = Directory.CreateTempSubdirectory("vsi-").FullName;
        new OnboardingFiles
        {
            Group = "nginx", Namespace = ScenarioMesh.Namespace, ServiceAccount = ScenarioMesh.VmAccount, AutoRegister = true,
            Labels = ImmutableSortedDictionary<string, string>.Empty.Add("app", "nginx").Add("class", "vm"),
            MeshMetadata = ImmutableDictionary<string, string>.Empty.Add("ISTIO_META_DNS_AUTO_ALLOCATE", "true"),
            DiscoveryAddress = istiod.Target,
            Token = token ?? istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount),
            RootPem = roots ?? istiod.RootsPem,
        }.Install(new HostPaths(root));
        File.WriteAllText(Path.Combine(root, "etc/resolv.conf"), "nameserver 127.0.0.1\n");
        return root;
    }

    /// <summary>Opens a stream on the agent's XDS socket, as Envoy does.</summary>
    public async Task<AdsPeer> EnvoyAsync(bool delta)
    {
        var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + Options.Xds.Socket));
        _channels.Add(channel);
        return new AdsPeer(await channel.OpenAsync(delta ? AdsService.Delta : AdsService.Sotw, [], CancellationToken.None), delta);
    }

    /// <summary>The node Envoy sends: the bootstrap's.</summary>
    public EnvoyApi.Core.Node Node() => new()
    {
        Id = Options.Node.Id,
        Cluster = Options.Node.Cluster,
        Metadata = Google.Protobuf.WellKnownTypes.Struct.Parser.ParseJson(Options.Node.Metadata.ToJsonString()),
    };

    public async Task<ExitCode> StopAsync()
    {
        await _stop.CancelAsync();
        return await Ended.WaitAsync(Test.Deadline);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (GrpcChannel channel in _channels) { await channel.DisposeAsync(); }
        await StopAsync();
        _app.Dispose();
        _systemd.Dispose();
        _stop.Dispose();
        Directory.Delete(Options.Paths.Root, recursive: true);
    }

    private static SidecarOptions OptionsFor(string root, FakeIstiod istiod)
    {
        var paths = new HostPaths(root);
        var environment = new Dictionary<string, string> { ["DISABLE_ENVOY"] = "true", ["INSTANCE_IP"] = "10.99.0.2", ["ISTIOD_SAN"] = "istiod.istio-system.svc" };
        ConfigLoad load = ConfigLoad.Read(paths, environment, CommandLineFlags.None, new HostNetwork());
        SidecarOptions options = load.Options ?? throw new InvalidOperationException(string.Join('\n', load.Errors));
        return options with
        {
            Identity = options.Identity with { CaServerName = "istiod.istio-system.svc", CaAddress = istiod.Target },
            Dns = options.Dns with { Listen = [new IPEndPoint(IPAddress.Loopback, FreePort.Next())] },
            Status = options.Status with { Port = FreePort.Next() },
            Envoy = options.Envoy with { Enabled = false },
            ShutdownBudget = TimeSpan.FromSeconds(10),
        };
    }
}
