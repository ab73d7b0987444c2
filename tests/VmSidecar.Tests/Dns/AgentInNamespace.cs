using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Dns;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using VmSidecar.Tests.Configuration;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The agent as a process of its own in a namespace, without an istiod, with the last name table of an earlier run and a resolv.conf that programs in there see too.</summary>
internal sealed class AgentInNamespace : IAsyncDisposable
{
    private static readonly string s_agent = Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll");

    private readonly NetworkNamespace _vm;
    private readonly TestHost _host = TestHost.WithFixture("1.31").Sidecar("DISABLE_ENVOY=true\nISTIO_SVC_IP=10.99.0.1\nISTIO_NAMESPACE=payments\n");
    private readonly string _etc;
    private string _pid = "";

    private AgentInNamespace(NetworkNamespace vm)
    {
        _vm = vm;
        _etc = Directory.CreateDirectory($"/etc/netns/{vm.Name}").FullName; // 'ip netns exec' puts it over /etc
    }

    private string Output => Path.Combine(_host.Paths.Root, "agent.out");

    /// <summary>Started, and serving <see cref="AnswerCasesTests.Fixture"/>.</summary>
    public static async Task<AgentInNamespace> StartAsync(NetworkNamespace vm, string resolvConf)
    {
        var agent = new AgentInNamespace(vm);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(agent._etc, "resolv.conf"), resolvConf);
            File.CreateSymbolicLink(agent._host.Paths.At("etc/resolv.conf"), "/etc/resolv.conf");
            await new LastTable(agent._host.Paths.State, TimeProvider.System, NullLogger.Instance).SaveAsync(AnswerCasesTests.Fixture, CancellationToken.None);
            agent._pid = await RunAsync(vm, "sh", "-c", $"dotnet exec {s_agent} run --root {agent._host.Paths.Root} >{agent.Output} 2>&1 </dev/null & echo $!");
            await agent.SaysAsync("serving the last name table");
            return agent;
        }
        catch
        {
            await agent.DisposeAsync();
            throw;
        }
    }

    /// <summary>Puts the capture rules on; this process's own user is exempt.</summary>
    public async Task CaptureAsync() => await RunAsync(_vm, "dotnet", "exec", s_agent, "iptables", "apply", "--root", _host.Paths.Root, "--proxy-uid", "0", "--proxy-gid", "0");

    /// <summary>Rewrites resolv.conf in place and waits until the agent says that it has seen <paramref name="server"/>.</summary>
    public async Task UseServersAsync(string resolvConf, string server)
    {
        await File.WriteAllTextAsync(Path.Combine(_etc, "resolv.conf"), resolvConf);
        await SaysAsync(server);
    }

    /// <summary>What a program prints as an application's user; empty when it says that there is no such name.</summary>
    public async Task<string> AppAsync(params string[] command)
    {
        CommandResult done = await _vm.Commands.RunAsync("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups", .. command], "", CancellationToken.None);
        return done.Output.Trim();
    }

    /// <summary>The addresses dig gets from the agent itself, in one try.</summary>
    public async Task<string> DigAsync(string name, params string[] more) => await AppAsync(["dig", "@127.0.0.1", "-p", "15053", "+short", "+tries=1", "+time=15", name, .. more]);

    /// <summary>What <c>vmsidecar dns</c> tells.</summary>
    public async Task<string> ExplainAsync(string name, string type = "A")
    {
        CommandResult done = await _vm.Commands.RunAsync("dotnet", ["exec", s_agent, "dns", "--root", _host.Paths.Root, name, type], "", CancellationToken.None);
        return done.Output + done.Error;
    }

    public async ValueTask DisposeAsync()
    {
        if (_pid.Length > 0)
        {
            await _vm.Commands.RunAsync("kill", [_pid], "", CancellationToken.None);
            await Test.UntilAsync(() => !Directory.Exists($"/proc/{_pid}"));
        }
        _host.Dispose();
        Directory.Delete(_etc, recursive: true);
    }

    /// <summary>Runs a program inside, as root; it must succeed.</summary>
    public static async Task<string> RunAsync(NetworkNamespace where, string program, params string[] arguments)
    {
        CommandResult done = await where.Commands.RunAsync(program, arguments, "", CancellationToken.None);
        Assert.True(done.Succeeded, $"{program} {string.Join(' ', arguments)}: {done.Error}");
        return done.Output.Trim();
    }

    private async Task SaysAsync(string words)
    {
        await Test.UntilAsync(() => File.Exists(Output) && (File.ReadAllText(Output).Contains(words, StringComparison.Ordinal) || !Directory.Exists($"/proc/{_pid}")));
        Assert.True(Directory.Exists($"/proc/{_pid}"), await File.ReadAllTextAsync(Output));
    }
}
