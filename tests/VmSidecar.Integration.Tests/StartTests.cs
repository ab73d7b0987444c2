using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.Lifecycle;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>The whole agent starts, in order, with what is there; a port that is taken stops it with one line.</summary>
public sealed class StartTests
{
    [Fact]
    public async Task Starts_in_order_and_stops_in_reverse_and_leaves_nothing_at_istiod()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var only] && only.State("NDS") == SyncState.Synced, "one stream with names acknowledged");
        string[] started = Components(agent, "started ");
        Assert.Equal(["dns", "status", "identity", "sds", "xds"], started.Take(5));

        Assert.Equal(ExitCode.Stopped, await agent.StopAsync());
        await istiod.UntilAsync(i => i.Streams.IsEmpty, "stream gone");
        Assert.Equal(started.Reverse(), Components(agent, "stopped "));
        Assert.Empty(istiod.Violations);
        Assert.False(File.Exists(agent.Options.Xds.Socket));
    }

    [Fact]
    public async Task Names_resolve_while_the_rest_waits_for_an_address_of_the_host()
    {
        await using FakeIstiod istiod = await StartAsync();
        var network = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod, settled: async (options, startup) =>
        {
            await network.Task.WaitAsync(startup);
            return options with { Xds = options.Xds with { Node = options.Xds.Node with { Id = options.Xds.Node.Id.Replace("10.99.0.2", "10.99.0.7", StringComparison.Ordinal) } } };
        });
        using var udp = new UdpClient();
        using var deadline = new CancellationTokenSource(VmSidecar.TestKit.Test.Deadline);
        await agent.Log.LineAsync("Debug app started dns");
        await udp.SendAsync(new byte[] { 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, (byte)'a', 0, 0, 1, 0, 1 }, agent.Dns, deadline.Token);
        Assert.Equal(0x12, (await udp.ReceiveAsync(deadline.Token)).Buffer[0]); // SERVFAIL: there is no upstream, but somebody says so at once
        Assert.Equal(["dns"], Components(agent, "started "));
        network.SetResult();
        await istiod.UntilAsync(i => i.Streams is [var only] && only.State("NDS") == SyncState.Synced, "the rest");
        Assert.Contains("10.99.0.7", istiod.Streams.Single().Node.Id, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_certificate_is_the_tokens_and_lies_where_pilot_agent_puts_it()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await agent.Log.LineAsync("generated new workload certificate");
        CaCall call = istiod.Ca.Calls.Single();
        Assert.Equal("spiffe://cluster.local/ns/istio-demo/sa/vm", call.Identity!.Primary);
        Assert.Equal(CredentialKind.Token, call.Identity.By);
        Assert.Equal("Kubernetes", call.ClusterId);
        Assert.Equal(86400, call.Validity);
        await agent.Log.LineAsync("Envoy proxy is ready"); // that needs the files
        string certificates = agent.Options.Paths.Certificates;
        using X509Certificate2 leaf = X509Certificate2.CreateFromPemFile(Path.Combine(certificates, "cert-chain.pem"), Path.Combine(certificates, "key.pem"));
        Assert.Equal(["spiffe://cluster.local/ns/istio-demo/sa/vm"], SpiffeIdOf.Uris(leaf));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(certificates, "key.pem")));
    }

    [Theory]
    [InlineData("dns")]
    [InlineData("status")]
    public async Task A_port_that_is_taken_ends_the_start_with_one_line_that_names_it(string component)
    {
        await using FakeIstiod istiod = await StartAsync();
        using var holder = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        holder.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        holder.Listen();
        var taken = (IPEndPoint)holder.LocalEndPoint!;
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod, options => component == "dns"
            ? options with { Dns = options.Dns with { Listen = [taken] } }
            : options with { Status = options.Status with { Port = taken.Port } });
        Assert.Equal(ExitCode.Fatal, await agent.Ended.WaitAsync(VmSidecar.TestKit.Test.Deadline));
        string line = Assert.Single(agent.Log.Lines, l => l.StartsWith("Critical", StringComparison.Ordinal));
        Assert.Contains(taken.Port.ToString(System.Globalization.CultureInfo.InvariantCulture), line, StringComparison.Ordinal);
        Assert.Contains(component, line, StringComparison.Ordinal);
        Assert.Empty(istiod.Streams);
    }

    [Fact]
    public async Task A_CA_that_is_down_at_start_is_waited_for()
    {
        await using FakeIstiod istiod = await StartAsync();
        string root = RunningAgent.Onboard(istiod);
        await istiod.KillAsync();
        await using RunningAgent agent = RunningAgent.Start(root, istiod);
        await agent.Log.LineAsync("ca request failed");
        await istiod.StartAsync();
        await agent.Log.LineAsync("generated new workload certificate");
        await istiod.UntilAsync(i => i.Streams is [var only] && only.State("NDS") == SyncState.Synced, "names after istiod came");
        Assert.False(agent.Ended.IsCompleted);
        Assert.Empty(istiod.Violations);
    }

    internal static async Task<FakeIstiod> StartAsync(IstiodOptions? options = null)
    {
        FakeIstiod istiod = await FakeIstiod.StartedAsync(options);
        istiod.Mesh = ScenarioMesh.With("10.99.0.3");
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        return istiod;
    }

    private static string[] Components(RunningAgent agent, string verb) =>
        [.. agent.Log.Lines.Where(l => l.StartsWith($"Debug app {verb}", StringComparison.Ordinal)).Select(l => l[$"Debug app {verb}".Length..].Split(' ')[0])];
}
