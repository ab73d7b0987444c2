using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.MeshLab.Lab;
using VmSidecar.TestKit.Istiod.Control;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Onboarding;

namespace VmSidecar.MeshLab.Scenario;

/// <summary>The three machines and what runs on them before the agent: istiod's double and a resolver in mesh, web servers in pod and vm, the onboarding files in their places.</summary>
internal sealed class LabMesh : IAsyncDisposable
{
    /// <summary>A name outside the mesh, known to the real resolver only.</summary>
    public const string OutsideName = "outside.example.org";

    /// <summary>Its address (TEST-NET-1).</summary>
    public const string OutsideAddress = "192.0.2.10";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);
    private readonly string _folder;
    private readonly LabOptions _options;
    private readonly List<Daemon> _daemons = [];
    private Network? _network;

    private LabMesh(LabOptions options, string folder)
    {
        _options = options;
        _folder = folder;
        Vm = new LabHost("vm", Network.Vm, Network.VmAddress, folder);
        Pod = new LabHost("pod", Network.Pod, Network.PodAddress, folder);
        Istiod = new IstiodControlClient(ControlSocket);
    }

    public LabHost Vm { get; }

    public LabHost Pod { get; }

    /// <summary>Looks into the istiod double.</summary>
    public IstiodControlClient Istiod { get; }

    /// <summary>Certificate and key of another mesh.</summary>
    public string ForeignCertificates => Path.Combine(_folder, "istiod", "foreign");

    private string ControlSocket => Path.Combine(_folder, "istiod.sock");

    /// <summary>Builds everything up to, but without, the VM's agent.</summary>
    public static async Task<LabMesh> MakeAsync(LabOptions options, Transcript transcript, CancellationToken stop)
    {
        string folder = Directory.CreateTempSubdirectory("vmsidecar-lab-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        var mesh = new LabMesh(options, folder);
        try
        {
            mesh._network = await Network.MakeAsync(stop);
            transcript.Note($"namespaces {Network.Mesh} {Network.MeshAddress}, {Network.Vm} {Network.VmAddress}, {Network.Pod} {Network.PodAddress}; files below {folder}");
            await mesh.StartResolverAsync(stop);
            await mesh.StartIstiodAsync(stop);
            string envoy = await mesh.PlaceEnvoyAsync(transcript, stop);
            await mesh.OnboardAsync(mesh.Vm, envoy, isVm: true, stop);
            await mesh.OnboardAsync(mesh.Pod, envoy, isVm: false, stop);
            await mesh.Vm.StartWebAsync("Welcome to nginx on vm!", stop);
            await mesh.Pod.StartWebAsync("Welcome to nginx on docker!", stop);
            return mesh;
        }
        catch
        {
            await mesh.DisposeAsync();
            throw;
        }
    }

    /// <summary>The registered WorkloadEntry of the VM, or null.</summary>
    public async Task<JsonObject?> EntryAsync(CancellationToken stop) => (await Istiod.EntriesAsync(stop)).Count > 0 ? (await Istiod.EntriesAsync(stop))[0] as JsonObject : null;

    public async ValueTask DisposeAsync()
    {
        try
        {
            await Vm.DisposeAsync();
            await Pod.DisposeAsync();
            foreach (Daemon daemon in _daemons) { await daemon.DisposeAsync(); }
            Istiod.Dispose();
        }
        finally
        {
            if (_network is not null) { await _network.DisposeAsync(); } // kills whatever is left inside
            Directory.Delete(_folder, recursive: true);
        }
    }

    /// <summary>A real resolver: dnsmasq, which knows one outside name and answers NXDOMAIN to the rest.</summary>
    private async Task StartResolverAsync(CancellationToken stop)
    {
        Daemon resolver = Daemon.Start("resolver", Path.Combine(_folder, "resolver.log"), Shell.Inside(Network.Mesh, null,
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-", "--bind-interfaces", "--user=root",
            $"--listen-address={Network.MeshAddress}", $"--address=/{OutsideName}/{OutsideAddress}", "--local=/#/", "--pid-file="));
        _daemons.Add(resolver);
        await resolver.LineAsync("started", Patience, stop);
    }

    private async Task StartIstiodAsync(CancellationToken stop)
    {
        Daemon istiod = Daemon.Start("istiod", Path.Combine(_folder, "istiod.log"), Shell.Inside(Network.Mesh, null,
            "dotnet", "exec", typeof(LabMesh).Assembly.Location, "istiod", "--state", Path.Combine(_folder, "istiod"),
            "--listen", $"{Network.MeshAddress}:15012", "--control", ControlSocket, "--pod", Network.PodAddress, "--version", _options.Istio));
        _daemons.Add(istiod);
        await istiod.LineAsync("listening on", Patience, stop);
    }

    /// <summary>The Envoy to use, readable by the proxy user; says which.</summary>
    private async Task<string> PlaceEnvoyAsync(Transcript transcript, CancellationToken stop)
    {
        if (_options.EnvoyPath is { } real)
        {
            transcript.Note($"Envoy: {real}");
            return real;
        }
        string folder = Path.Combine(_folder, "envoy");
        await Shell.MustAsync(stop, "cp", "-r", _options.MiniEnvoy, folder);
        await Shell.MustAsync(stop, "chmod", "-R", "a+rX", folder);
        transcript.Note("Envoy: none here (ENVOY_PATH unset, no envoy on PATH); the test data plane mini-envoy takes its place");
        return Path.Combine(folder, "mini-envoy");
    }

    /// <summary>Writes the five files as istioctl does, puts them to their classic places, and names the Envoy in sidecar.env.</summary>
    private async Task OnboardAsync(LabHost host, string envoy, bool isVm, CancellationToken stop)
    {
        string state = Path.Combine(_folder, "istiod");
        var files = new OnboardingFiles
        {
            Group = isVm ? "nginx" : "nginx-docker",
            Namespace = ScenarioMesh.Namespace,
            ServiceAccount = isVm ? ScenarioMesh.VmAccount : ScenarioMesh.PodAccount,
            Labels = new OnboardingFiles { Group = "", Namespace = "", Token = "", RootPem = "" }.Labels.Add("app", "nginx").Add("class", isVm ? "vm" : "docker"),
            AutoRegister = isVm,
            CaptureDns = isVm,
            MeshId = "mesh1",
            Istio110 = _options.Istio == "1.10",
            Probe = isVm ? new JsonObject { ["httpGet"] = new JsonObject { ["path"] = "/", ["port"] = 80 }, ["periodSeconds"] = 1 } : null,
            Token = await File.ReadAllTextAsync(Path.Combine(state, isVm ? "vm-token" : "pod-token"), stop),
            RootPem = await File.ReadAllTextAsync(Path.Combine(state, "root-cert.pem"), stop),
            IngressIp = Network.MeshAddress,
        };
        var paths = new HostPaths(host.Root);
        files.Install(paths);
        await File.WriteAllTextAsync(paths.SidecarEnv, $"PROXY_CONFIG='binaryPath: {envoy}'\nPOD_NAME='{host.Name}1'\n", stop);
        await File.AppendAllTextAsync($"/etc/netns/{host.Netns}/hosts", files.Hosts(), stop);
        File.Copy($"/etc/netns/{host.Netns}/resolv.conf", paths.ResolvConf, overwrite: true);
        await host.OwnAsync(stop);
    }
}
