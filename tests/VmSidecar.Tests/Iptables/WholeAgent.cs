using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Onboarding;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// The real executable with <c>run --capture</c> in a lab's VM, a process of its own with the test data plane as its Envoy, against an istiod double behind
/// the peer's address. Its Envoy can be made to die and to stay dead. Dispose kills what is left.
/// </summary>
internal sealed class WholeAgent : IAsyncDisposable
{
    private const string Group = "1337"; // what the rules exempt where there is no user istio-proxy
    private readonly CaptureLab _lab;
    private readonly FakeIstiod _istiod;
    private readonly Socket _door;
    private readonly Task _relaying;
    private Process? _process;

    private WholeAgent(CaptureLab lab, FakeIstiod istiod)
    {
        (_lab, _istiod) = (lab, istiod);
        _door = lab.Peer.As(0, 0, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        _door.Bind(new IPEndPoint(IPAddress.Parse("10.99.0.2"), 15012));
        _door.Listen();
        _relaying = RelayAsync();
    }

    public FakeIstiod Istiod => _istiod;

    private string Root => _lab.State;

    private string DeadMark => Path.Combine(Root, "envoy-is-dead");

    /// <summary>Onboarded, not started.</summary>
    public static async Task<WholeAgent> CreateAsync(CaptureLab lab, string sidecarEnv = "")
    {
        var agent = new WholeAgent(lab, await FakeIstiod.StartedAsync());
        agent._istiod.Mesh = ScenarioMesh.With("10.99.0.2");
        agent._istiod.Registry.Add(ScenarioMesh.VmGroup);
        var paths = new HostPaths(lab.State);
        new OnboardingFiles
        {
            Group = "nginx", Namespace = ScenarioMesh.Namespace, ServiceAccount = ScenarioMesh.VmAccount, AutoRegister = true,
            Labels = ImmutableSortedDictionary<string, string>.Empty.Add("app", "nginx").Add("class", "vm"),
            DiscoveryAddress = "10.99.0.2:15012",
            Token = agent._istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount),
            RootPem = agent._istiod.RootsPem,
        }.Install(paths);
        string envoy = Path.Combine(lab.State, "envoy");
        await File.WriteAllTextAsync(envoy, $"#!/bin/sh\n[ -e {agent.DeadMark} ] && exit 1\nexec {Dotnet} exec {Path.Combine(AppContext.BaseDirectory, "mini-envoy.dll")} \"$@\"\n");
        File.SetUnixFileMode(envoy, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(paths.At("var/lib/istio/envoy"));
        await File.WriteAllTextAsync(paths.SidecarEnv, $"PROXY_CONFIG='binaryPath: {envoy}'\nISTIOD_SAN=istiod.istio-system.svc\nTERMINATION_DRAIN_DURATION_SECONDS=1\n{sidecarEnv}");
        await File.WriteAllTextAsync(paths.At("etc/resolv.conf"), "nameserver 127.0.0.53\n");
        return agent;
    }

    /// <summary>As root with the proxy's group, as README says; in a process group of its own.</summary>
    public void Start() => _process = Process.Start(new ProcessStartInfo("ip",
        ["netns", "exec", _lab.Vm.Name, "setpriv", "--regid", Group, "--clear-groups", Dotnet, "exec", Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll"), "run", "--capture", "--root", Root])
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        WorkingDirectory = "/",
    })!;

    /// <summary>All lines of the log so far.</summary>
    public string[] Log() => File.Exists(LogFile) ? File.ReadAllLines(LogFile) : [];

    /// <summary>Waits for the n-th line with this text; what there was instead is in the failure.</summary>
    public async Task LineAsync(string text, int times = 1)
    {
        try
        {
            await Test.UntilAsync(() => _process!.HasExited || Log().Count(l => l.Contains(text, StringComparison.Ordinal)) >= times);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"no line '{text}' in time:\n{string.Join('\n', Log())}");
        }
        if (_process!.HasExited) { throw new InvalidOperationException($"exit {_process.ExitCode}: {await _process.StandardError.ReadToEndAsync()}{string.Join('\n', Log())}"); }
    }

    /// <summary>SIGTERM, and its exit code.</summary>
    public async Task<int> StopAsync()
    {
        Signal("TERM");
        await _process!.WaitForExitAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        return _process.ExitCode;
    }

    /// <summary>SIGKILL to the agent alone.</summary>
    public async Task KillAsync()
    {
        Signal("KILL");
        await _process!.WaitForExitAsync(CancellationToken.None).WaitAsync(Test.Deadline);
    }

    /// <summary>Envoy ends now and at every start, until <see cref="ReviveEnvoy"/>.</summary>
    public async Task KillEnvoyAsync()
    {
        await File.WriteAllTextAsync(DeadMark, "");
        foreach (int child in Children(_process!.Id)) { Process.GetProcessById(child).Kill(); }
    }

    public void ReviveEnvoy() => File.Delete(DeadMark);

    public async ValueTask DisposeAsync()
    {
        if (_process is { HasExited: false } running)
        {
            running.Kill(entireProcessTree: true);
            await running.WaitForExitAsync(CancellationToken.None);
        }
        foreach (string pid in (await _lab.Vm.Commands.RunAsync("ip", ["netns", "pids", _lab.Vm.Name], "", CancellationToken.None)).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            await _lab.Vm.Commands.RunAsync("kill", ["-KILL", pid], "", CancellationToken.None); // an Envoy whose agent was killed
        }
        _process?.Dispose();
        _door.Dispose();
        await _relaying;
        await _istiod.DisposeAsync();
    }

    private string LogFile => Path.Combine(Root, "var/log/istio/istio.log");

    private static string Dotnet => Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));

    private void Signal(string name)
    {
        using Process kill = Process.Start("kill", [$"-{name}", _process!.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    private static IEnumerable<int> Children(int parent) => // each is its thread's
        Directory.GetDirectories($"/proc/{parent}/task").SelectMany(t => File.ReadAllText($"{t}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(c => int.Parse(c, System.Globalization.CultureInfo.InvariantCulture));

    /// <summary>From the peer's address to the double, which listens on this machine's loopback.</summary>
    private async Task RelayAsync()
    {
        try
        {
            while (true)
            {
                Socket near = await _door.AcceptAsync();
                _ = PumpBothAsync(near);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // the test has ended
        }
    }

    private async Task PumpBothAsync(Socket near)
    {
        using Socket far = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        using (near)
        {
            try
            {
                await far.ConnectAsync(_istiod.Address);
                await Task.WhenAny(PumpAsync(near, far), PumpAsync(far, near));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // refused or reset: so is the other side, by being disposed
            }
        }
    }

    private static async Task PumpAsync(Socket from, Socket to)
    {
        byte[] buffer = new byte[64 * 1024];
        try
        {
            while (await from.ReceiveAsync(buffer) is int got and > 0)
            {
                for (int sent = 0; sent < got;) { sent += await to.SendAsync(buffer.AsMemory(sent, got - sent)); }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // ends both
        }
    }
}
