using System.Net;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Dns;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using VmSidecar.Tests.Configuration;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>
/// The agent as a process of its own in a namespace, without an istiod, with its capture rules on, and the resolvers of a Linux host before it: what an
/// application gets that knows nothing of us. The nameserver of resolv.conf is a stub at 127.0.0.53, as with systemd-resolved.
/// </summary>
public sealed class ResolverTests
{
    private static readonly string Agent = Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll");

    [Fact]
    public async Task Applications_resolve_mesh_names_and_others_through_glibc_and_dig()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        if (CommandRunner.Find("dig") is null) { Assert.Skip("no dig"); }
        await using NetworkNamespace vm = await NetworkNamespace.CreateAsync("vsc-dns-vm");
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("DISABLE_ENVOY=true\nISTIO_SVC_IP=10.99.0.1\nISTIO_NAMESPACE=payments\n");
        string etc = Directory.CreateDirectory($"/etc/netns/{vm.Name}").FullName; // 'ip netns exec' puts it over /etc
        string pid = "";
        try
        {
            await File.WriteAllTextAsync(Path.Combine(etc, "resolv.conf"), "nameserver 127.0.0.53\nsearch corp.example\n");
            File.CreateSymbolicLink(host.Paths.At("etc/resolv.conf"), "/etc/resolv.conf");
            await new LastTable(host.Paths.State, TimeProvider.System, NullLogger.Instance).SaveAsync(AnswerCasesTests.Fixture, CancellationToken.None);
            await using FakeUpstream stub = vm.As(0, 0, () => new FakeUpstream(Stub, IPAddress.Parse("127.0.0.53"), port: 53));
            await vm.RunAsync("ip addr add 10.99.0.1/24 dev lo"); // without an address of its own, glibc asks for none (AI_ADDRCONFIG)
            await vm.RunAsync("ip -6 addr add fd99::1/64 dev lo nodad");
            pid = await StartAsync(vm, host);
            await RunAsync(vm, "dotnet", "exec", Agent, "iptables", "apply", "--root", host.Paths.Root, "--proxy-uid", "0", "--proxy-gid", "0");

            Assert.Equal("10.96.10.11", await AppAsync(vm, "dig", "+short", "ledger.payments"));
            Assert.Equal("10.96.10.11", await AppAsync(vm, "dig", "+short", "+tcp", "ledger.payments.svc.cluster.local"));
            Assert.Equal("192.0.2.1", await AppAsync(vm, "dig", "+short", "www.example.net"));
            Assert.Equal("240.240.1.1", await AppAsync(vm, "dig", "+short", "a.b.cdn.example"));
            Assert.Equal(40, (await AppAsync(vm, "dig", "+short", "+bufsize=512", "kafka.data")).Split('\n').Length); // cut, then whole over TCP
            Assert.StartsWith("10.96.10.11 ", await AppAsync(vm, "getent", "ahostsv4", "ledger.payments"), StringComparison.Ordinal);
            string both = await AppAsync(vm, "getent", "ahosts", "catalog.shop"); // both families, asked in parallel
            Assert.Contains("10.96.20.22 ", both, StringComparison.Ordinal);
            Assert.Contains("fd00:96::22 ", both, StringComparison.Ordinal);
            Assert.StartsWith("2001:2::f0f0:9 ", await AppAsync(vm, "getent", "ahosts", "v6only.partner.example"), StringComparison.Ordinal);
            Assert.StartsWith("192.0.2.7 ", await AppAsync(vm, "getent", "ahosts", "db"), StringComparison.Ordinal); // by the search list, upstream
            Assert.Contains("ledger.payments.svc.cluster.local", await AppAsync(vm, "getent", "hosts", "10.96.10.11"), StringComparison.Ordinal);
            Assert.Equal("", await AppAsync(vm, "getent", "ahosts", "nobody.example.org"));
        }
        finally
        {
            if (pid.Length > 0)
            {
                await vm.Commands.RunAsync("kill", [pid], "", CancellationToken.None);
                await Test.UntilAsync(() => !Directory.Exists($"/proc/{pid}"));
            }
            Directory.Delete(etc, recursive: true);
        }
    }

    private static IEnumerable<byte[]> Stub(byte[] query, bool tcp)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        string? address = WireName.ToText(parsed.Name(query)) switch { "www.example.net." => "192.0.2.1", "db.corp.example." => "192.0.2.7", _ => null };
        return [address is null ? DnsMessages.Reply(query, DnsRcode.NxDomain) : DnsMessages.Reply(query, 0, 60, parsed.Question.Type == DnsType.A ? [address] : [])];
    }

    /// <summary>Starts the agent and waits until it serves; returns its process id.</summary>
    private static async Task<string> StartAsync(NetworkNamespace vm, TestHost host)
    {
        string output = Path.Combine(host.Paths.Root, "agent.out");
        string pid = await RunAsync(vm, "sh", "-c", $"dotnet exec {Agent} run --root {host.Paths.Root} >{output} 2>&1 </dev/null & echo $!");
        await Test.UntilAsync(() => File.Exists(output) && (File.ReadAllText(output).Contains("serving the last name table", StringComparison.Ordinal) || !Directory.Exists($"/proc/{pid}")));
        Assert.True(Directory.Exists($"/proc/{pid}"), await File.ReadAllTextAsync(output));
        return pid;
    }

    /// <summary>As an application's user; empty when the program says that there is no such name.</summary>
    private static async Task<string> AppAsync(NetworkNamespace vm, params string[] command)
    {
        CommandResult done = await vm.Commands.RunAsync("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups", .. command], "", CancellationToken.None);
        return done.Output.Trim();
    }

    private static async Task<string> RunAsync(NetworkNamespace vm, string program, params string[] arguments)
    {
        CommandResult done = await vm.Commands.RunAsync(program, arguments, "", CancellationToken.None);
        Assert.True(done.Succeeded, $"{program} {string.Join(' ', arguments)}: {done.Error}");
        return done.Output.Trim();
    }
}
