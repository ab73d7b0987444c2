using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The relay between real sockets and a strict istiod: registration, hand-overs as proxy-status shows them, faults and what follows.</summary>
public sealed class RelayOverTheWireTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task Registration_follows_the_data_plane_and_there_is_one_stream_throughout(bool delta)
    {
        await using WireBench bench = await WireBench.StartedAsync();
        bench.Health.Set(new HealthState(Healthy: true, ""));
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "the own stream has its names");
        Assert.Empty(bench.Istiod.Registry.Entries);
        Assert.Single(bench.Names.Tables);

        await using AdsPeer envoy = await bench.EnvoyAsync(delta);
        await AskAsync(envoy, delta, "CDS", WireBench.Node());
        await bench.StreamsAsync(s => s is [var joint] && joint.Delta == delta && joint.State("NDS") == SyncState.Synced && joint.State("CDS") != SyncState.NotSent, "the joint stream alone");
        Assert.Single(bench.Istiod.Registry.Entries);
        await AskAsync(envoy, delta, "LDS");
        await bench.Istiod.UntilAsync(i => i.Streams is [var s] && s.Requests.Any(r => r.Type.Contains("Health", StringComparison.Ordinal)), "health after LDS");

        await envoy.DisposeAsync();
        await bench.StreamsAsync(s => s is [var own] && own.Requests.All(r => r.Type != "CDS") && own.State("NDS") == SyncState.Synced, "the own stream is back");
        Assert.Empty(bench.Istiod.Violations);
    }

    [Fact]
    public async Task An_istiod_1_10_makes_it_state_of_the_world()
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = IstiodVersion.V1_10 });
        Assert.Equal(new XdsMode(Delta: false, Settled: true), await bench.Proxy.ModeAsync(Test.Deadline, CancellationToken.None));
        await bench.StreamsAsync(s => s is [{ Delta: false }], "one SotW stream");
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: false);
        await envoy.AskAsync("CDS", node: WireBench.Node());
        Assert.NotNull(await envoy.NextAsync());
        Assert.Empty(bench.Istiod.Violations);
    }

    [Fact]
    public async Task A_delta_Envoy_on_an_istiod_that_has_none_is_told_so_and_the_mode_follows()
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = IstiodVersion.V1_10 });
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: true);
        await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
        Assert.Equal(GrpcStatusCode.Unimplemented, (await envoy.EndAsync()).Code);
        Assert.False((await bench.Proxy.ModeAsync(Test.Deadline, CancellationToken.None)).Delta);
    }

    [Theory, InlineData("end"), InlineData("garbage"), InlineData("reset"), InlineData("half"), InlineData("bad resource")]
    public async Task After_a_fault_on_the_own_stream_names_still_come(string fault)
    {
        await using WireBench bench = await WireBench.StartedAsync();
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "names");
        bench.Istiod.Faults.OnAnswer("NDS", Fault(fault));
        bench.Istiod.Push("NDS");
        if (fault == "bad resource")
        {
            await bench.Istiod.UntilAsync(i => i.Streams is [var own] && own.Requests.Any(r => r.Error is not null), "a NACK on the stream that brought it");
            bench.Istiod.Push("NDS");
        }
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "names again");
        Assert.Empty(bench.Istiod.Violations);
    }

    [Fact]
    public async Task A_token_istiod_refuses_is_explained_once_and_retried()
    {
        await using WireBench bench = await WireBench.StartedAsync();
        bench.Istiod.Faults.AlwaysOnOpen = new AdsFault.End(GrpcStatusCode.Unauthenticated, "authentication failure");
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: true);
        await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"), await envoy.EndAsync());
        await bench.Log.UntilAsync(l => l.Contains("refuses this VM", StringComparison.Ordinal)); // the own stream may be the one that says it
        Assert.Single(bench.Log.Lines, l => l.Contains("refuses this VM", StringComparison.Ordinal));
    }

    private static Task AskAsync(AdsPeer envoy, bool delta, string type, VmSidecar.EnvoyApi.Core.Node? node = null) =>
        delta ? envoy.AskDeltaAsync(type, node: node) : envoy.AskAsync(type, node: node);

    private static AdsFault Fault(string fault) => fault switch
    {
        "end" => new AdsFault.End(GrpcStatusCode.Unavailable, "transport is closing"),
        "garbage" => new AdsFault.Garbage(),
        "reset" => new AdsFault.Reset(),
        "half" => new AdsFault.HalfMessage(20),
        _ => new AdsFault.GarbageResource(),
    };

    [Theory, InlineData(false), InlineData(true)]
    public async Task Roots_that_are_gone_are_said_and_their_return_needs_no_restart(bool delta)
    {
        await using WireBench bench = await WireBench.StartedAsync();
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "the own stream");
        bench.RemoveRoots();
        await using (AdsPeer envoy = await bench.EnvoyAsync(delta))
        {
            GrpcStatus end = await envoy.EndAsync();
            Assert.Equal(GrpcStatusCode.Unavailable, end.Code);
            Assert.Contains("missing a root certificate", end.Message, StringComparison.Ordinal);
        }
        await Test.UntilAsync(() => bench.Log.Lines.Any(l => l.StartsWith($"Error xdsproxy failed to connect to upstream {bench.Istiod.Target}: ", StringComparison.Ordinal)));
        bench.WriteRoots();
        await using AdsPeer again = await bench.EnvoyAsync(delta);
        if (delta) { await again.AskDeltaAsync("CDS", node: WireBench.Node()); } else { await again.AskAsync("CDS", node: WireBench.Node()); }
        await bench.StreamsAsync(s => s is [var joint] && joint.State("CDS") != SyncState.NotSent, "the joint stream");
    }
}
