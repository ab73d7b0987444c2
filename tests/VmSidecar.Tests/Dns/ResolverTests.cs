using System.Net;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>
/// The agent as a process of its own in a namespace, without an istiod, with its capture rules on, and the resolvers of a Linux host before it: what an
/// application gets that knows nothing of us. The nameserver of resolv.conf is a stub at 127.0.0.53, as with systemd-resolved.
/// </summary>
public sealed class ResolverTests
{
    [Fact]
    public async Task Applications_resolve_mesh_names_and_others_through_glibc_musl_and_dig()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        foreach (string tool in (string[])["dig", "musl-gcc"]) { Assert.True(CommandRunner.Find(tool) is not null, $"{tool} is missing: './build.sh test' installs it"); }
        await using NetworkNamespace vm = await NetworkNamespace.CreateAsync("vsc-dns-vm");
        await using FakeUpstream stub = vm.As(0, 0, () => new FakeUpstream(Stub, IPAddress.Parse("127.0.0.53"), port: 53));
        await vm.RunAsync("ip addr add 10.99.0.1/24 dev lo"); // without an address of its own, glibc asks for none (AI_ADDRCONFIG)
        await vm.RunAsync("ip -6 addr add fd99::1/64 dev lo nodad");
        await using AgentInNamespace agent = await AgentInNamespace.StartAsync(vm, "nameserver 127.0.0.53\nsearch corp.example\n");
        await agent.CaptureAsync();

        Assert.Equal("10.96.10.11", await agent.AppAsync("dig", "+short", "ledger.payments"));
        Assert.Equal("10.96.10.11", await agent.AppAsync("dig", "+short", "+tcp", "ledger.payments.svc.cluster.local"));
        Assert.Equal("192.0.2.1", await agent.AppAsync("dig", "+short", "www.example.net"));
        Assert.Equal("240.240.1.1", await agent.AppAsync("dig", "+short", "a.b.cdn.example"));
        Assert.Equal(40, (await agent.AppAsync("dig", "+short", "+bufsize=512", "kafka.data")).Split('\n').Length); // cut, then whole over TCP
        Assert.StartsWith("10.96.10.11 ", await agent.AppAsync("getent", "ahostsv4", "ledger.payments"), StringComparison.Ordinal);
        string both = await agent.AppAsync("getent", "ahosts", "catalog.shop"); // both families, asked in parallel
        Assert.Contains("10.96.20.22 ", both, StringComparison.Ordinal);
        Assert.Contains("fd00:96::22 ", both, StringComparison.Ordinal);
        Assert.StartsWith("2001:2::f0f0:9 ", await agent.AppAsync("getent", "ahosts", "v6only.partner.example"), StringComparison.Ordinal);
        Assert.StartsWith("192.0.2.7 ", await agent.AppAsync("getent", "ahosts", "db"), StringComparison.Ordinal); // by the search list, upstream
        Assert.Contains("ledger.payments.svc.cluster.local", await agent.AppAsync("getent", "hosts", "10.96.10.11"), StringComparison.Ordinal);
        Assert.Equal("", await agent.AppAsync("getent", "ahosts", "nobody.example.org"));
        await ThroughMuslAsync(agent);
    }

    /// <summary>musl's resolver, that of Alpine: asks for both families at once, and takes no answer with a name error in it.</summary>
    private static async Task ThroughMuslAsync(AgentInNamespace agent)
    {
        string folder = Directory.CreateTempSubdirectory("vsc-musl-").FullName, program = Path.Combine(folder, "resolve");
        try
        {
            File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101); // an application's user runs it
            await File.WriteAllTextAsync(program + ".c", Source);
            CommandResult made = await new CommandRunner(Test.Deadline, TimeProvider.System).RunAsync("musl-gcc", ["-static", "-o", program, program + ".c"], "", CancellationToken.None);
            Assert.True(made.Succeeded, made.Error);
            Assert.Equal("10.96.10.11", await agent.AppAsync(program, "ledger.payments"));
            Assert.Equal("10.96.20.22\nfd00:96::22", await agent.AppAsync(program, "catalog.shop"));
            Assert.Equal("2001:2::f0f0:9", await agent.AppAsync(program, "v6only.partner.example"));
            Assert.InRange((await agent.AppAsync(program, "kafka.data")).Split('\n').Length, 29, 40); // before 1.2.4 musl makes do with what is cut
            Assert.Equal("192.0.2.1", await agent.AppAsync(program, "www.example.net"));
            Assert.Equal("192.0.2.7", await agent.AppAsync(program, "db")); // by the search list
            Assert.Equal("", await agent.AppAsync(program, "nobody.example.org"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private const string Source = """
        #include <arpa/inet.h>
        #include <netdb.h>
        #include <stdio.h>
        int main(int argc, char **argv)
        {
            struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *a;
            char text[64];
            for (int family = 0; family < 2; family++)
            {
                hints.ai_family = AF_UNSPEC;
                if (getaddrinfo(argv[1], 0, &hints, &found)) { return 1; }
                for (a = found; a; a = a->ai_next)
                {
                    if ((a->ai_family == AF_INET6) != family) { continue; }
                    void *address = family ? (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr : (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr;
                    puts(inet_ntop(a->ai_family, address, text, sizeof text));
                }
                freeaddrinfo(found);
            }
            return 0;
        }
        """;

    private static IEnumerable<byte[]> Stub(byte[] query, bool tcp)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        string? address = WireName.ToText(parsed.Name(query)) switch { "www.example.net." => "192.0.2.1", "db.corp.example." => "192.0.2.7", _ => null };
        return [address is null ? DnsMessages.Reply(query, DnsRcode.NxDomain) : DnsMessages.Reply(query, 0, 60, parsed.Question.Type == DnsType.A ? [address] : [])];
    }
}
