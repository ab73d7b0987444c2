using System.Text;
using System.Text.Json.Nodes;

using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod.Control;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Onboarding;

using Xunit;

[assembly: AssemblyFixture(typeof(PackageMesh))]
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace VmSidecar.Package.Tests.Machines;

/// <summary>What all machines of a run share: the network, istiod's double, a resolver, a pod's web server, and three versions of the package. Made at the first use.</summary>
public sealed class PackageMesh : IAsyncLifetime
{
    /// <summary>A version below and one above the package's own.</summary>
    public const string Older = "0.0.1~older", Newer = "9.9.9~newer";

    /// <summary>What the binary in <see cref="Newer"/> says it is: its own number with nines for digits, overwritten in place.</summary>
    internal string NewerBinary { get; private set; } = "";

    private static readonly string s_lab = typeof(Daemon).Assembly.Location;
    private readonly List<Daemon> _daemons = [];
    private MeshNetwork? _network;
    private PackageInputs? _inputs;
    private int _machines;

    internal IstiodControlClient Istiod { get; private set; } = null!;

    internal PackageInputs Inputs => _inputs!;

    internal MeshNetwork Network => _network!;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        foreach (Daemon daemon in _daemons) { await daemon.DisposeAsync(); }
        Istiod?.Dispose();
        if (_network is not null) { await _network.DisposeAsync(); }
    }

    /// <summary>A freshly booted machine with the onboarding files in /root/files, packages in /root, an Envoy, and its application on port 80.</summary>
    internal async Task<Machine> BootAsync(CancellationToken stop, bool withEnvoy = true)
    {
        await PrepareAsync(stop);
        string name = $"vm{++_machines}", address = $"10.98.0.{10 + _machines}";
        Machine machine = await Machine.BootAsync(Network, name, address, Inputs.Root, stop);
        try
        {
            string home = Path.Combine(machine.Root, "root");
            await FilesAsync(machine.Name, Path.Combine(home, "files"), stop);
            foreach (string package in Directory.EnumerateFiles(Network.Folder, "*.deb")) { File.Copy(package, Path.Combine(home, Path.GetFileName(package))); }
            if (withEnvoy) { File.Copy(Inputs.Envoy, Path.Combine(machine.Root, "usr/local/bin/envoy")); }
            await StartWebAsync(machine.Netns, $"Welcome to {name}!", stop);
            return machine;
        }
        catch
        {
            await machine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts the application of a machine (in its network, not among its processes); needed again after a reboot.</summary>
    internal async Task StartWebAsync(string netns, string text, CancellationToken stop)
    {
        Daemon web = Daemon.Start($"{netns} web", Path.Combine(Network.Folder, $"{netns}-web.log"), Shell.Inside(netns, null, "dotnet", "exec", s_lab, "web", "0.0.0.0", "80", text));
        _daemons.Add(web);
        await web.LineAsync("listening on", Test.Deadline, stop);
    }

    /// <summary>Waits until istiod has a healthy WorkloadEntry of the machine.</summary>
    internal async Task<JsonObject> RegisteredAsync(Machine machine, CancellationToken stop) => (await Waiting.ForAsync(
        $"a healthy WorkloadEntry at {machine.Address}", Test.Deadline, () => EntryAsync(machine, stop),
        e => e?["healthy"] is JsonValue value && value.TryGetValue(out bool healthy) && healthy, stop))!;

    /// <summary>The machine's WorkloadEntry, or null.</summary>
    internal async Task<JsonObject?> EntryAsync(Machine machine, CancellationToken stop) =>
        (await Istiod.EntriesAsync(stop)).OfType<JsonObject>().FirstOrDefault(e => (string?)e["address"] == machine.Address);

    private async Task PrepareAsync(CancellationToken stop)
    {
        if (_network is not null) { return; }
        _inputs = PackageInputs.Require();
        _network = await MeshNetwork.MakeAsync(stop);
        string control = Path.Combine(Network.Folder, "istiod.sock"), state = Path.Combine(Network.Folder, "istiod");
        _daemons.Add(Daemon.Start("istiod", Path.Combine(Network.Folder, "istiod.log"), Shell.Inside(Network.MeshNetns, null, "dotnet", "exec", s_lab, "istiod",
            "--state", state, "--listen", $"{MeshNetwork.MeshAddress}:15012", "--control", control, "--pod", MeshNetwork.PodAddress, "--version", "1.31")));
        _daemons.Add(Daemon.Start("resolver", Path.Combine(Network.Folder, "resolver.log"), Shell.Inside(Network.MeshNetns, null,
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-", "--bind-interfaces", "--user=root",
            $"--listen-address={MeshNetwork.MeshAddress}", "--address=/outside.example.org/192.0.2.10", "--local=/#/", "--pid-file=")));
        await _daemons[0].LineAsync("listening on", Test.Deadline, stop);
        await _daemons[1].LineAsync("started", Test.Deadline, stop);
        Istiod = new IstiodControlClient(control);
        await Istiod.PostAsync("/mtls?mode=permissive", stop); // the pod here has no sidecar; mTLS between two is the lab's subject
        await Istiod.PostAsync("/plain?host=" + ScenarioMesh.Host, stop);
        await Network.JoinAsync("pod", MeshNetwork.PodAddress, stop);
        await StartWebAsync(Network.NetnsOf("pod"), "Welcome to the pod!", stop);
        File.Copy(Inputs.Package, Path.Combine(Network.Folder, "vm-sidecar.deb"));
        await RepackAsync(Older, stop);
        await RepackAsync(Newer, stop, Rename);
    }

    /// <summary>A program that differs in what it calls itself.</summary>
    private void Rename(string folder)
    {
        string binary = Path.Combine(folder, "usr/bin/vmsidecar"), number = File.ReadAllLines(Path.Combine(folder, "DEBIAN/control")).First(l => l.StartsWith("Version: ", StringComparison.Ordinal))[9..];
        NewerBinary = string.Concat(number.Select(c => char.IsAsciiDigit(c) ? '9' : c));
        byte[] program = File.ReadAllBytes(binary);
        int at = program.AsSpan().IndexOf(Encoding.UTF8.GetBytes(number + "+"));
        Assert.True(at > 0, $"{binary} does not hold its version {number}");
        Encoding.UTF8.GetBytes(NewerBinary).CopyTo(program, at);
        File.WriteAllBytes(binary, program);
    }

    /// <summary>The same package under another version, as <c>vm-sidecar_VERSION.deb</c>.</summary>
    private async Task RepackAsync(string version, CancellationToken stop, Action<string>? change = null)
    {
        string folder = Path.Combine(Network.Folder, "repack"), control = Path.Combine(folder, "DEBIAN/control");
        await Shell.MustAsync(stop, "dpkg-deb", "-R", Inputs.Package, folder);
        change?.Invoke(folder);
        string[] lines = await File.ReadAllLinesAsync(control, stop);
        await File.WriteAllLinesAsync(control, lines.Select(l => l.StartsWith("Version:", StringComparison.Ordinal) ? $"Version: {version}" : l), stop);
        await Shell.MustAsync(stop, "dpkg-deb", "-Znone", "--root-owner-group", "-b", folder, Path.Combine(Network.Folder, $"vm-sidecar_{version}.deb"));
        Directory.Delete(folder, recursive: true);
    }

    private async Task FilesAsync(string name, string folder, CancellationToken stop)
    {
        string state = Path.Combine(Network.Folder, "istiod");
        new OnboardingFiles
        {
            Group = "nginx", Namespace = ScenarioMesh.Namespace, ServiceAccount = ScenarioMesh.VmAccount, AutoRegister = true, MeshId = "mesh1",
            Labels = new OnboardingFiles { Group = "", Namespace = "", Token = "", RootPem = "" }.Labels.Add("app", "nginx").Add("class", "vm").Add("machine", name),
            Probe = new JsonObject { ["httpGet"] = new JsonObject { ["path"] = "/", ["port"] = 80 }, ["periodSeconds"] = 1 },
            Token = await File.ReadAllTextAsync(Path.Combine(state, "vm-token"), stop), RootPem = await File.ReadAllTextAsync(Path.Combine(state, "root-cert.pem"), stop),
            IngressIp = MeshNetwork.MeshAddress,
        }.WriteTo(folder);
    }
}
