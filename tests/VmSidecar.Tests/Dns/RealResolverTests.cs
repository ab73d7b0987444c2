using System.Globalization;
using System.Text;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The agent before a real unbound across a bad network: answers lost and late, a dead server first, an answer too long for UDP, and nobody there any more.</summary>
public sealed class RealResolverTests
{
    private const int Names = 24, Addresses = 200;

    [Fact]
    public async Task Names_of_a_real_resolver_arrive_whatever_the_network_does()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        foreach (string tool in (string[])["unbound", "dig"]) { Assert.True(CommandRunner.Find(tool) is not null, $"{tool} is missing: './build.sh test' installs it"); }
        await using NetworkNamespace vm = await NetworkNamespace.CreateAsync("vsc-real-vm"), up = await NetworkNamespace.CreateAsync("vsc-real-up");
        await NetworkNamespace.ConnectAsync(vm, "out0", "10.77.0.1/24", up, "in0", "10.77.0.2/24");
        await using Unbound unbound = await Unbound.StartAsync(up, "10.77.0.2");
        await Test.UntilAsync(() => AgentInNamespace.RunAsync(vm, "sh", "-c", "dig @10.77.0.2 +short +tries=1 +time=1 n1.upstream.test || true").GetAwaiter().GetResult() == "192.0.2.1");
        await using AgentInNamespace agent = await AgentInNamespace.StartAsync(vm, "nameserver 10.77.0.2\n");

        // every fourth answer is lost; and all are late where the kernel can do that
        await vm.RunAsync("iptables -A INPUT -i out0 -p udp -m statistic --mode nth --every 4 --packet 0 -j DROP");
        await up.Commands.RunAsync("tc", ["qdisc", "add", "dev", "in0", "root", "netem", "delay", "30ms"], "", CancellationToken.None);
        for (int i = 1; i <= Names / 2; i++) { Assert.Equal($"192.0.2.{i}", await agent.DigAsync($"n{i}.upstream.test")); }
        Assert.Equal(Addresses, (await agent.DigAsync("big.upstream.test")).Split('\n').Length); // cut on the way here and to dig; each fetched by TCP
        Assert.Contains("status: NXDOMAIN", await agent.AppAsync("dig", "@127.0.0.1", "-p", "15053", "+tries=1", "+time=15", "nobody.upstream.test"), StringComparison.Ordinal);

        await agent.UseServersAsync("nameserver 10.77.0.99\nnameserver 10.77.0.2\n", "10.77.0.99"); // nobody has that address
        for (int i = Names / 2 + 1; i <= Names; i++) { Assert.Equal($"192.0.2.{i}", await agent.DigAsync($"n{i}.upstream.test")); }

        await up.RunAsync("ip link set in0 down");
        Assert.Equal($"192.0.2.{Names}", await agent.DigAsync($"n{Names}.upstream.test")); // TTL 1: by now or in a moment the expired answer
        Assert.Equal("10.96.10.11", await agent.DigAsync("ledger.payments"));
    }

    /// <summary>unbound with names of its own, in a namespace.</summary>
    private sealed class Unbound(NetworkNamespace where, string folder, string pid) : IAsyncDisposable
    {
        public static async Task<Unbound> StartAsync(NetworkNamespace where, string address)
        {
            string folder = Directory.CreateTempSubdirectory("vsc-unbound-").FullName, file = Path.Combine(folder, "unbound.conf");
            var text = new StringBuilder();
            text.Append(CultureInfo.InvariantCulture, $"server:\n interface: {address}\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"{folder}/log\"\n access-control: 10.0.0.0/8 allow\n max-udp-size: 1232\n local-zone: \"test.\" static\n");
            for (int i = 1; i <= Names; i++) { text.Append(CultureInfo.InvariantCulture, $" local-data: \"n{i}.upstream.test. 1 A 192.0.2.{i}\"\n"); }
            for (int i = 1; i <= Addresses; i++) { text.Append(CultureInfo.InvariantCulture, $" local-data: \"big.upstream.test. 60 A 198.51.100.{i}\"\n"); }
            text.Append("remote-control:\n control-enable: no\n");
            await File.WriteAllTextAsync(file, text.ToString());
            return new(where, folder, await AgentInNamespace.RunAsync(where, "sh", "-c", $"unbound -d -c {file} >{folder}/out 2>&1 </dev/null & echo $!"));
        }

        public async ValueTask DisposeAsync()
        {
            await where.Commands.RunAsync("kill", [pid], "", CancellationToken.None);
            await Test.UntilAsync(() => !Directory.Exists($"/proc/{pid}"));
            Directory.Delete(folder, recursive: true);
        }
    }
}
