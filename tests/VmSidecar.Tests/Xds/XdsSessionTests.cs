using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>One joint stream: what passes, what is added, what is taken, and how it ends (reference 03 §4).</summary>
public sealed class XdsSessionTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task A_cold_start_runs_as_the_worked_sequence_says(bool delta)
    {
        await using var bench = new RelayBench(delta);
        bench.Health.Set(new HealthState(Healthy: false, "boom"));
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();

        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        XdsEnvelope first = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.Cluster, true), (first.TypeUrl, first.HasNode));
        XdsEnvelope names = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.NameTable, false), (names.TypeUrl, names.HasNode)); // before LDS: names do not wait for clusters

        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.Cluster, "n1", [1, 2], [3]));
        Assert.Equal("n1", (await envoy.Client.ReadAsync(Talk.Responses(delta))).Nonce);

        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n2", [9]));
        XdsEnvelope ack = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.NameTable, "n2", false, delta ? "" : "v7"), (ack.TypeUrl, ack.Nonce, ack.HasError, ack.Version));
        Assert.Equal([9], Assert.Single(bench.Names.Tables));

        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Listener));
        Assert.Equal(XdsTypeUrl.Listener, (await istiod.Server.ReadAsync(Talk.Requests(delta))).TypeUrl);
        XdsEnvelope health = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.Health, 13, "boom"), (health.TypeUrl, health.ErrorCode, health.ErrorMessage));

        bench.Health.Set(new HealthState(Healthy: true, ""));
        XdsEnvelope better = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal((XdsTypeUrl.Health, false), (better.TypeUrl, better.HasError));
        Assert.Equal(XdsStreamOwner.Joint, bench.Proxy.Status.Owner);
    }

    [Fact]
    public async Task A_stop_says_goodbye_and_lets_istiod_end_the_stream_for_a_reset_may_overtake_what_was_said()
    {
        var bench = new RelayBench(delta: true, names: false);
        bench.Health.Set(new HealthState(Healthy: true, ""));
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Listener, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync();
        bench.Health.Set(new HealthState(Healthy: false, "the agent is stopping") { IsLast = true });
        Task stopped = bench.DisposeAsync().AsTask();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster)); // too late, and no reason to end in haste

        XdsEnvelope goodbye = await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest);
        while (goodbye.TypeUrl != XdsTypeUrl.Health) { goodbye = await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest); }
        Assert.Equal("the agent is stopping", goodbye.ErrorMessage);
        while (await istiod.Server.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline) is { } more) { more.Dispose(); } // half-closed, not reset
        Assert.False(istiod.ClientGone.IsCancellationRequested);
        Assert.False(stopped.IsCompleted);
        istiod.End(GrpcStatus.Ok);

        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unavailable, "the agent is stopping"), await envoy.Ended.WaitAsync(Test.Deadline));
        await stopped.WaitAsync(Test.Deadline);
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_bad_name_table_is_refused_on_its_stream_and_the_next_good_one_taken(bool delta)
    {
        await using var bench = new RelayBench(delta);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync();

        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n20", [0xFF]));
        XdsEnvelope nack = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal(("n20", 13, "not a name table", delta ? "" : "v7"), (nack.Nonce, nack.ErrorCode, nack.ErrorMessage, nack.Version));
        Assert.Contains("Error default failed to unmarshal name table: not a name table", bench.Log.Lines);

        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n21")); // without resources: no answer, nothing cleared
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "n22", [1], [2]));
        Assert.Equal(("n22", false), (await istiod.Server.ReadAsync(Talk.Requests(delta))) is var ack ? (ack.Nonce, ack.HasError) : default);
        Assert.Equal([1], Assert.Single(bench.Names.Tables)); // resource 0 only
    }

    [Fact]
    public async Task Trust_anchors_are_taken_and_acknowledged()
    {
        await using var bench = new RelayBench(delta: true, names: false, trust: true);
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        Assert.Equal(XdsTypeUrl.ProxyConfig, (await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest)).TypeUrl);
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.ProxyConfig, "n1", new ProtoWriter().String(34, "one").String(34, "two").ToArray()));
        Assert.Equal("n1", (await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest)).Nonce);
        Assert.Equal(["one", "two"], bench.Trust.Pems);
    }

    [Fact]
    public async Task What_Envoy_cannot_use_and_nobody_asked_for_is_dropped_and_said()
    {
        await using var bench = new RelayBench(delta: false, names: false);
        PairedCall envoy = bench.Envoy(delta: false), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(false, XdsTypeUrl.Cluster, Talk.Node));
        await envoy.Client.SayAsync(XdsMessages.Subscribe(false, "istio.io/debug/syncz"));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.SayAsync(Talk.Response(false, "istio.io/debug/config_dump", "a", [1]));
        await istiod.Server.SayAsync(Talk.Response(false, "istio.io/debug/syncz", "b", [1]));
        await istiod.Server.SayAsync(Talk.Response(false, "type.googleapis.com/envoy.future.v9.Thing", "c", [1]));
        await istiod.Server.SayAsync(Talk.Response(false, XdsTypeUrl.Workload, "d", [1]));
        Assert.Equal("b", (await envoy.Client.ReadAsync(XdsMessageKind.Response)).Nonce); // asked for on this stream
        Assert.Equal("c", (await envoy.Client.ReadAsync(XdsMessageKind.Response)).Nonce);
        Assert.Equal("d", (await envoy.Client.ReadAsync(XdsMessageKind.Response)).Nonce);
        Assert.Contains("Error xdsproxy Skipping forwarding type url istio.io/debug/config_dump to Envoy as is not a valid Envoy type", bench.Log.Lines);
    }

    [Theory]
    [InlineData(0, "", "Debug", "cancelled", "<nil>")]
    [InlineData(14, "server is not ready to serve discovery information", "Warning", "error", "rpc error: code = Unavailable desc = server is not ready to serve discovery information")]
    [InlineData(1, "gone", "Debug", "cancelled", "rpc error: code = Cancelled desc = gone")]
    public async Task The_end_of_istiods_stream_is_the_end_of_Envoys(int code, string message, string level, string type, string said)
    {
        await using var bench = new RelayBench(delta: true);
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        var status = new GrpcStatus((GrpcStatusCode)code, message);
        istiod.End(status);
        Assert.Equal(status, await envoy.Ended.WaitAsync(Test.Deadline));
        Assert.Equal(1, bench.Istiod.Dials); // Envoy comes back; whoever retried for it would lose its subscriptions
        string text = level == "Debug" ? "terminated with status" : "terminated with unexpected error";
        Assert.Contains($"{level} xdsproxy upstream {text} {said}\tid=1", bench.Log.Lines);
        Assert.Equal(1, bench.Metrics.Counter("istiod_connection_terminations", "", $"type=\"{type}\"").Value);
    }

    [Fact]
    public async Task What_istiod_sent_before_it_ended_still_reaches_a_slow_Envoy()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall envoy = bench.Envoy(delta: true, window: 1), istiod = await bench.Istiod.NextAsync();
        for (int i = 0; i < 4; i++) { await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, $"n{i}", [1])); }
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing"));
        for (int i = 0; i < 4; i++) { Assert.Equal($"n{i}", (await envoy.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce); }
        Assert.Equal(GrpcStatusCode.Unavailable, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
    }

    [Fact]
    public async Task When_Envoy_goes_istiods_stream_is_closed()
    {
        await using var bench = new RelayBench(delta: true);
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.DisposeAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, istiod.ClientGone).WaitAsync(Test.Deadline));
    }

    [Fact]
    public async Task A_refused_dial_ends_Envoys_stream_with_why()
    {
        await using var bench = new RelayBench(delta: true);
        bench.Istiod.Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: connection refused");
        PairedCall envoy = bench.Envoy(delta: true);
        Assert.Equal(bench.Istiod.Refuse, await envoy.Ended.WaitAsync(Test.Deadline));
        Assert.Equal(1, bench.Istiod.Dials); // Envoy's back-off is the only one
        Assert.Contains(bench.Log.Lines, l => l.StartsWith("Debug xdsproxy failed to create delta upstream grpc client: ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_newer_stream_supersedes_and_the_old_cleanup_leaves_it_alone()
    {
        await using var bench = new RelayBench(delta: true);
        PairedCall old = bench.Envoy(delta: true), oldIstiod = await bench.Istiod.NextAsync();
        PairedCall fresh = bench.Envoy(delta: true);
        await fresh.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        Assert.Equal(GrpcStatus.Ok, await old.Ended.WaitAsync(Test.Deadline));
        Assert.True(oldIstiod.ClientGone.IsCancellationRequested); // closed before the new one was opened
        Assert.Contains("Warning xdsproxy registered overlapping stream; closing previous", bench.Log.Lines);
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n1", [1]));
        Assert.Equal("n1", (await fresh.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce);
        Assert.Equal(2, bench.Proxy.Status.Id);
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task Garbage_ends_that_stream_only(bool delta)
    {
        await using var bench = new RelayBench(delta);
        PairedCall envoy = bench.Envoy(delta);
        await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync([0x0A, 0xFF]);
        Assert.Equal(GrpcStatusCode.Internal, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
        PairedCall again = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await istiod.Server.SayAsync([0x12, 0x7F]);
        Assert.Equal(GrpcStatusCode.Internal, (await again.Ended.WaitAsync(Test.Deadline)).Code);
    }

    [Fact]
    public async Task Refusals_are_explained_once_per_change()
    {
        await using var bench = new RelayBench(delta: true);
        for (int i = 0; i < 3; i++)
        {
            PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
            istiod.End(new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"));
            await envoy.Ended.WaitAsync(Test.Deadline);
        }
        Assert.Single(bench.Access.Explained);
        Assert.Single(bench.Log.Lines, l => l.Contains("refuses this VM: the token has expired", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_istiod_that_does_not_read_ends_the_stream_and_not_the_memory()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
        byte[] big = [.. XdsMessages.Subscribe(true, XdsTypeUrl.Endpoints, Talk.Node), .. new ProtoWriter().Bytes(99, new byte[4 * 1024 * 1024]).ToArray()];
        int sent = 0;
        try { for (; sent < 100; sent++) { await envoy.Client.SayAsync(big); } }
        catch (GrpcException) { }
        Assert.InRange(sent, 9, 99); // the limit, a message, and the windows
        Assert.Equal(GrpcStatusCode.ResourceExhausted, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
        Assert.NotNull(istiod);
    }

    [Fact]
    public async Task A_slow_Envoy_throttles_istiod()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall envoy = bench.Envoy(delta: true, window: 1), istiod = await bench.Istiod.NextAsync();
        byte[] push = Talk.Response(true, XdsTypeUrl.Cluster, "n", new byte[100_000]);
        using var stuck = new CancellationTokenSource();
        int sent = 0;
        Task flood = Task.Run(async () =>
        {
            while (true)
            {
                await istiod.Server.SendAsync(push, stuck.Token);
                sent++;
            }
        });
        // Envoy's window, the message being sent, the one waiting, the one just read, istiod's window: after that istiod waits.
        int most = 1 + 1 + 1 + 1 + bench.Istiod.Window;
        for (int i = 0; i < 100; i++) { await Task.Yield(); }
        Assert.InRange(sent, 0, most);
        for (int read = 0; read < 20; read++) { await envoy.Client.ReadBytesAsync(); }
        Assert.InRange(sent, 0, most + 20);
        await stuck.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => flood);
    }

    [Fact]
    public async Task A_request_over_the_limit_is_refused_with_its_status()
    {
        await using RelayBench bench = await new RelayBench(delta: true, names: false, maxMessage: 1000).StartAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + Path.Combine(bench.Folder, "XDS")));
        await using IGrpcClientCall call = await channel.OpenAsync(XdsMessages.DeltaMethod, [], CancellationToken.None);
        await call.SendAsync(new byte[5000], CancellationToken.None);
        Assert.Null(await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        Assert.Equal(GrpcStatusCode.ResourceExhausted, call.Status.Code);
    }
}
