using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

namespace VmSidecar.Integration.Tests;

/// <summary>
/// The agent as a process of its own (<c>run</c>), with a script in Envoy's place that writes whatever is appended to <see cref="Said"/>. For what only a process has: signals, children,
/// replacement in place. Dispose kills it and removes its folder.
/// </summary>
internal sealed class AgentProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly HttpClient _http = new() { Timeout = Test.Deadline };

    private AgentProcess(string root, string? inheritance)
    {
        Root = root;
        (StatusPort, DnsPort) = (FreePort.Next(), FreePort.Next());
        File.WriteAllText(Said, "");
        Directory.CreateDirectory(new HostPaths(root).LogDirectory);
        Script(Path.Combine(root, "envoy"), $"echo \"envoy process $$\"; exec tail -n +1 -f {Said}");
        Set($"statusPort: {StatusPort}");
        string dotnet = Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        // A suite under nohup(1) passes on that hang-ups are ignored.
        var start = new ProcessStartInfo("env", ["--default-signal=HUP", dotnet, "exec", Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll"), "run", "--root", root])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        start.Environment["INSTANCE_IP"] = "10.99.0.2";
        start.Environment["ISTIOD_SAN"] = "istiod.istio-system.svc";
        start.Environment["CLOUD_PLATFORM"] = "none";
        if (inheritance is not null) { start.Environment[VmSidecar.Linux.Processes.ChildEnvironment.Inheritance] = inheritance; }
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, line) => Note(line.Data);
        _process.ErrorDataReceived += (_, line) => Note(line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public string Root { get; }

    public int StatusPort { get; }

    public int DnsPort { get; }

    /// <summary>The file that "Envoy" follows.</summary>
    public string Said => Path.Combine(Root, "said");

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    /// <summary>Everything on its standard streams so far.</summary>
    public List<string> Console { get; } = [];

    /// <summary>With onboarding files of its own; <paramref name="inheritance"/> is what an agent before says it has left, in the environment.</summary>
    public static AgentProcess Start(FakeIstiod istiod, string? inheritance = null) => new(RunningAgent.Onboard(istiod), inheritance);

    /// <summary>The settings file anew, with these lines of the proxy configuration.</summary>
    public void Set(string proxyConfig, string more = "") => File.WriteAllText(
        new HostPaths(Root).SidecarEnv,
        $"PROXY_CONFIG='{proxyConfig}\nterminationDrainDuration: 0s\nproxyAdminPort: 1\nbinaryPath: {Path.Combine(Root, "envoy")}'\nDNS_PROXY_ADDR=127.0.0.1:{DnsPort}\n{more}\n");

    /// <summary>A page of the status port, over a connection of its own.</summary>
    public async Task<string> GetAsync(string path)
    {
        using var http = new HttpClient { Timeout = Test.Deadline };
        return await http.GetStringAsync(new Uri($"http://127.0.0.1:{StatusPort}{path}"));
    }

    /// <summary>The state, as soon as the agent gives one and it is as awaited.</summary>
    public async Task<JsonObject> StateAsync(Func<JsonObject, bool> holds)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            try
            {
                if (JsonNode.Parse(await _http.GetStringAsync(new Uri($"http://127.0.0.1:{StatusPort}/debug/statusz"), limit.Token)) is JsonObject state && holds(state)) { return state; }
            }
            catch (Exception e) when (e is HttpRequestException && !HasExited) { } // starting
            catch (OperationCanceledException) { throw new TimeoutException("the state is not as awaited:\n" + Log()); }
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }

    public string Log()
    {
        lock (Console) { return string.Join('\n', Console); }
    }

    public async Task LineAsync(string part)
    {
        try { await Test.UntilAsync(() => Log().Contains(part, StringComparison.Ordinal)); }
        catch (OperationCanceledException) { throw new TimeoutException($"no line with '{part}':\n{Log()}"); }
    }

    public void Signal(string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    public Task ExitedAsync() => _process.WaitForExitAsync().WaitAsync(Test.Deadline);

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) { _process.Kill(); } // Envoy dies with it
        await _process.WaitForExitAsync();
        _process.Dispose();
        _http.Dispose();
        Directory.Delete(Root, recursive: true);
    }

    public static void Script(string path, string body)
    {
        File.WriteAllText(path + ".new", $"#!/bin/sh\ncase \"$*\" in *--version*) echo 'envoy  version: 0123456789/1.40.0/Clean/RELEASE/BoringSSL'; exit 0;; esac\n{body}\n");
        File.SetUnixFileMode(path + ".new", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Move(path + ".new", path, overwrite: true);
    }

    private void Note(string? line)
    {
        if (line is null) { return; }
        lock (Console) { Console.Add(line); }
    }
}
