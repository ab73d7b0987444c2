using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary><c>run --capture</c> from outside: when rules go on and off, and what an operator finds after Envoy or the agent died.</summary>
public sealed class WholeAgentTests
{
    private const string On = "capture rules are in place", Off = "capture rules are removed";

    /// <summary>example.org A.</summary>
    private static readonly byte[] s_query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, .. "example"u8, 3, .. "org"u8, 0, 0, 1, 0, 1];

    [Fact]
    public async Task Rules_go_on_when_the_mesh_is_served_and_off_before_the_drain()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await using WholeAgent agent = await WholeAgent.CreateAsync(lab);
        string before = await RulesAsync(lab);
        agent.Istiod.Front.Refuse();
        agent.Start();
        await agent.LineAsync("Starting local udp DNS server");
        await agent.LineAsync("connect", 2); // istiod is asked, in vain
        Assert.Equal(before, await RulesAsync(lab));
        agent.Istiod.Front.Reopen();
        await agent.LineAsync(On);
        Assert.Contains("15001", await RulesAsync(lab), StringComparison.Ordinal);
        Assert.True(Place(agent, "Envoy proxy is ready") < Place(agent, On));
        Assert.Equal(0, await agent.StopAsync());
        Assert.True(Place(agent, Off) < Place(agent, "Agent draining Proxy for termination"));
        Assert.Equal(before, await RulesAsync(lab));
    }

    /// <summary>The rules stay, as README says; the next start takes them off, and puts them on only when it serves.</summary>
    [Fact]
    public async Task After_a_sigkill_the_next_start_makes_it_good()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await using WholeAgent agent = await WholeAgent.CreateAsync(lab);
        string before = await RulesAsync(lab);
        agent.Start();
        await agent.LineAsync(On);
        await agent.KillAsync();
        Assert.Contains("15001", await RulesAsync(lab), StringComparison.Ordinal);
        agent.Start();
        await agent.LineAsync(On, 2);
        await agent.KillAsync();
        Assert.Equal("capture rules are removed", (await new RealAgent(lab).SayAsync("clean")).Output.Trim());
        Assert.Equal(before, await RulesAsync(lab));
    }

    [Fact]
    public async Task With_failure_mode_open_a_dead_envoy_lifts_capture_until_it_is_back()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await using WholeAgent agent = await WholeAgent.CreateAsync(lab, "VMSIDECAR_FAILURE_MODE=open\nVMSIDECAR_DEAD_LIMIT=1\n");
        lab.ListenTcp(lab.Peer, "10.99.0.2", 80, "web");
        string before = await RulesAsync(lab);
        agent.Start();
        await agent.LineAsync(On);
        await agent.KillEnvoyAsync();
        await agent.LineAsync("LIFTING capture");
        await VmSidecar.TestKit.Test.UntilAsync(() => RulesAsync(lab).GetAwaiter().GetResult() == before);
        Assert.StartsWith("web ", await CaptureLab.AskTcpAsync(lab.Vm, 1000, 1000, "10.99.0.2", 80), StringComparison.Ordinal);
        agent.ReviveEnvoy();
        await agent.LineAsync("Envoy is back: capture rules go on again");
        await VmSidecar.TestKit.Test.UntilAsync(() => RulesAsync(lab).GetAwaiter().GetResult().Contains("15001", StringComparison.Ordinal));
    }

    /// <summary>Closed: nothing leaves outside the mesh, but names are answered and ssh gets in.</summary>
    [Fact]
    public async Task With_failure_mode_closed_a_dead_envoy_costs_the_mesh_and_nothing_else()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await using WholeAgent agent = await WholeAgent.CreateAsync(lab);
        lab.ListenTcp(lab.Peer, "10.99.0.2", 80, "web");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 22, "ssh");
        agent.Start();
        await agent.LineAsync(On);
        await agent.KillEnvoyAsync();
        await agent.LineAsync("Envoy exited with error", 2); // tried again, in vain
        Assert.Contains("15001", await RulesAsync(lab), StringComparison.Ordinal);
        Assert.Equal("refused", await CaptureLab.AskTcpAsync(lab.Vm, 1000, 1000, "10.99.0.2", 80));
        Assert.StartsWith("ssh ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "10.99.0.1", 22), StringComparison.Ordinal);
        Assert.Contains(" from 127.0.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, 1000, 1000, "127.0.0.53", 53, query: s_query), StringComparison.Ordinal);
    }

    private static int Place(WholeAgent agent, string text) => Array.FindIndex(agent.Log(), l => l.Contains(text, StringComparison.Ordinal)) is var at and >= 0 ? at : throw new InvalidOperationException($"no line '{text}'");

    private static Task<string> RulesAsync(CaptureLab lab) => lab.SaveAsync();
}
