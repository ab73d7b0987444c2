using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The agent's own stream and its hand-overs with Envoy's (DESIGN: one stream to istiod at a time).</summary>
public sealed class AgentStreamTests
{
    [Fact]
    public async Task Names_come_before_any_Envoy_and_the_mode_is_settled()
    {
        await using RelayBench bench = await new RelayBench().StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        Assert.Equal(XdsMessages.DeltaMethod, own.Method);
        XdsEnvelope request = await own.Server.ReadAsync(XdsMessageKind.DeltaRequest);
        Assert.Equal((XdsTypeUrl.NameTable, true), (request.TypeUrl, request.HasNode));
        await own.Server.SayAsync(Talk.Response(true, XdsTypeUrl.NameTable, "n1", [7]));
        Assert.Equal("n1", (await own.Server.ReadAsync(XdsMessageKind.DeltaRequest)).Nonce);
        Assert.Equal(new XdsMode(Delta: true, Settled: true), await bench.Proxy.ModeAsync(Test.Deadline, CancellationToken.None));
        Assert.Equal([7], Assert.Single(bench.Names.Tables));
        Assert.Equal(XdsStreamOwner.Agent, bench.Proxy.Status.Owner);
        Assert.Equal(XdsAck.Accepted, Assert.Single(bench.Proxy.Status.Types).Ack);
    }

    [Fact]
    public async Task The_node_is_Envoys_without_what_registers()
    {
        await using RelayBench bench = await new RelayBench().StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        byte[] request = await own.Server.ReadBytesAsync();
        string text = System.Text.Encoding.Latin1.GetString(request);
        Assert.Contains("sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local", text, StringComparison.Ordinal);
        Assert.Contains("DNS_AUTO_ALLOCATE", text, StringComparison.Ordinal);
        Assert.DoesNotContain("AUTO_REGISTER_GROUP", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_istiod_without_delta_is_asked_again_in_sotw_at_once_and_remembered()
    {
        string folder = Directory.CreateTempSubdirectory("vsc-xds-").FullName;
        await using (var bench = new RelayBench(folder: folder))
        {
            bench.Istiod.SotwOnly = true;
            await bench.StartAsync();
            PairedCall own = await bench.Istiod.NextAsync();
            Assert.Equal(XdsMessages.SotwMethod, own.Method);
            Assert.Equal(new XdsMode(Delta: false, Settled: true), await bench.Proxy.ModeAsync(Test.Deadline, CancellationToken.None));
            await own.Server.ReadBytesAsync();
            await own.Server.SayAsync(Talk.Response(false, XdsTypeUrl.NameTable, "n1", [7]));
            await own.Server.ReadBytesAsync();
            Assert.Equal("sotw\n", await File.ReadAllTextAsync(Path.Combine(folder, "xds-mode")));
        }
        Directory.CreateDirectory(folder);
        await new XdsMode(Delta: false, Settled: true).TrySaveAsync(folder, CancellationToken.None);
        Assert.Equal(new XdsMode(Delta: false, Settled: false), XdsMode.Load(folder));
        Directory.Delete(folder, recursive: true);
        Assert.Equal(new XdsMode(Delta: true, Settled: false), XdsMode.Load(folder));
    }

    [Fact]
    public async Task Envoys_start_never_waits_longer_than_told_for_the_mode()
    {
        await using var bench = new RelayBench();
        Task<XdsMode> mode = bench.Proxy.ModeAsync(TimeSpan.FromSeconds(1), CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(1), await bench.Time.NextTimerAsync(Test.Deadline));
        bench.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(new XdsMode(Delta: true, Settled: false), await mode.WaitAsync(Test.Deadline));
    }

    [Fact]
    public async Task A_delta_Envoy_on_an_istiod_without_delta_is_to_be_started_anew()
    {
        await using var bench = new RelayBench();
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        istiod.End(new GrpcStatus(GrpcStatusCode.Unimplemented, "not implemented"));
        Assert.Equal(GrpcStatusCode.Unimplemented, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
        Assert.Equal(1, bench.WrongProtocol);
        Assert.Equal(new XdsMode(Delta: false, Settled: true), bench.Proxy.Mode.Current);
    }

    [Fact]
    public async Task Envoy_takes_over_and_hands_back_with_one_stream_left_each_time()
    {
        await using RelayBench bench = await new RelayBench(delta: true).StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        await own.Server.ReadBytesAsync();
        await own.Server.SayAsync(Talk.Response(true, XdsTypeUrl.NameTable, "n1", [1]));
        await own.Server.ReadBytesAsync();

        PairedCall envoy = bench.Envoy(delta: true), joint = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        await joint.Server.ReadBytesAsync();
        Assert.False(own.ClientGone.IsCancellationRequested); // until istiod has answered Envoy, the own one stays
        await joint.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n2", [1]));
        await GoneAsync(own);
        Assert.Same(joint, Assert.Single(bench.Istiod.Open));

        await envoy.Client.DisposeAsync();
        PairedCall again = await bench.Istiod.NextAsync(); // at once: Envoy has gone, istiod is well
        await GoneAsync(joint);
        Assert.True((await again.Server.ReadAsync(XdsMessageKind.DeltaRequest)).HasNode);
        Assert.Same(again, Assert.Single(bench.Istiod.Open));
    }

    [Fact]
    public async Task When_istiod_ends_the_joint_stream_Envoy_goes_first()
    {
        await using RelayBench bench = await new RelayBench(delta: true).StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        PairedCall envoy = bench.Envoy(delta: true), joint = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        await joint.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n2", [1]));
        await GoneAsync(own);
        joint.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing"));
        await envoy.Ended.WaitAsync(Test.Deadline);

        while (await bench.DelayAsync() > TimeSpan.FromMilliseconds(500)) { } // waits its back-off, as short as Envoy's; longer timers are the session's
        Assert.Empty(bench.Istiod.Open);
        PairedCall back = bench.Envoy(delta: true), jointAgain = await bench.Istiod.NextAsync();
        await back.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        await jointAgain.Server.ReadBytesAsync();
        bench.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Same(jointAgain, Assert.Single(bench.Istiod.Open));
    }

    [Fact]
    public async Task Attempts_back_off_with_a_cap_and_are_warned_of_once()
    {
        await using var bench = new RelayBench(delta: true);
        bench.Istiod.Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: connection refused");
        await bench.StartAsync();
        for (int i = 0; i < 12; i++)
        {
            TimeSpan delay = await bench.DelayAsync();
            Assert.InRange(delay, TimeSpan.Zero, TimeSpan.FromMilliseconds(Math.Min(30_000, 500 * Math.Pow(2, i))));
            bench.Time.Advance(delay);
        }
        Assert.Single(bench.Log.Lines, l => l.StartsWith("Warning xdsproxy", StringComparison.Ordinal));
        TimeSpan last = await bench.DelayAsync(); // the attempt before it has failed by now
        bench.Istiod.Refuse = null;
        bench.Time.Advance(last);
        Assert.Equal(XdsMessages.DeltaMethod, (await bench.Istiod.NextAsync()).Method);
    }

    [Fact]
    public async Task A_new_certificate_ends_the_wait()
    {
        await using var bench = new RelayBench(delta: true);
        bench.Istiod.Refuse = new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure");
        await bench.StartAsync();
        await bench.DelayAsync();
        bench.Istiod.Refuse = null;
        bench.Secrets.Set(new VmSidecar.Identity.WorkloadSecrets("", "", "", default, default, default, "01"));
        Assert.Equal(XdsMessages.DeltaMethod, (await bench.Istiod.NextAsync()).Method);
    }

    private static async Task GoneAsync(PairedCall call) =>
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, call.ClientGone).WaitAsync(Test.Deadline));
}
