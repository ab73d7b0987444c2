using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>
/// Each fault at each stage of a joint stream: while connecting, while opening, within the first answer, within a later push, in between. Small
/// responses are gathered, and, with a threshold of a few bytes, passed on while they arrive. After each: one stream, everything in sync, nothing held.
/// </summary>
public sealed class FaultMatrixTests
{
    private const int WholeAbove = 256 * 1024;

    [Theory]
    [InlineData("refuse"), InlineData("silent"), InlineData("reset"), InlineData("end"), InlineData("hang")]
    public async Task While_the_stream_is_made(string fault)
    {
        await using WireBench bench = await StartedAsync();
        FrontDoor front = bench.Istiod.Front;
        switch (fault)
        {
            case "refuse": front.Refuse(); break;
            case "silent": front.Silent = true; break;
            case "reset": bench.Istiod.Faults.OnOpen(new AdsFault.Reset()); break;
            case "end": bench.Istiod.Faults.OnOpen(new AdsFault.End(GrpcStatusCode.Unavailable, "server is not ready to serve discovery information")); break;
            default: bench.Istiod.Faults.OnOpen(new AdsFault.Hang()); break;
        }
        Task dialled = front.NextConnection;
        await using (AdsPeer envoy = await bench.EnvoyAsync(delta: true))
        {
            await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
            if (fault is "silent" or "hang") // nothing ends by itself: the peer's host dies
            {
                await dialled.WaitAsync(Test.Deadline);
                front.Silent = false;
                front.ResetAll();
            }
            Assert.Equal(GrpcStatusCode.Unavailable, (await envoy.EndAsync()).Code);
        }
        if (fault == "refuse") { front.Reopen(); }
        await ConvergesAsync(bench);
    }

    [Theory]
    [InlineData("end", WholeAbove), InlineData("garbage", WholeAbove), InlineData("reset", WholeAbove), InlineData("half", WholeAbove), InlineData("not ready", WholeAbove), InlineData("kill", WholeAbove), InlineData("shutdown", WholeAbove)]
    [InlineData("end", 16), InlineData("garbage", 0), InlineData("reset", 16), InlineData("half", 16), InlineData("bad resource", 16)]
    public async Task Within_the_first_answer(string fault, int largeMessage)
    {
        await using WireBench bench = await StartedAsync(largeMessage);
        await using (AdsPeer envoy = await bench.EnvoyAsync(delta: true))
        {
            if (fault == "not ready") { bench.Istiod.IsReady = false; }
            else if (fault is not ("kill" or "shutdown")) { bench.Istiod.Faults.OnAnswer("CDS", Fault(fault)); }
            await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
            if (fault is "kill" or "shutdown")
            {
                Assert.NotNull(await envoy.NextDeltaAsync());
                await (fault == "kill" ? bench.Istiod.KillAsync() : bench.Istiod.StopAsync());
            }
            if (fault == "bad resource") { Assert.NotNull(await envoy.NextDeltaAsync()); } // Envoy's to refuse
            else { Assert.NotEqual(GrpcStatusCode.OK, (await envoy.EndAsync()).Code); }
        }
        bench.Istiod.IsReady = true;
        if (fault is "kill" or "shutdown") { await bench.Istiod.StartAsync(); }
        await ConvergesAsync(bench);
    }

    [Theory]
    [InlineData("garbage", WholeAbove), InlineData("half", WholeAbove), InlineData("reset", WholeAbove), InlineData("garbage", 0), InlineData("half", 16), InlineData("reset", 16)]
    public async Task Within_a_later_push(string fault, int largeMessage)
    {
        await using WireBench bench = await StartedAsync(largeMessage);
        await using (AdsPeer envoy = await SyncedAsync(bench))
        {
            bench.Istiod.Faults.OnAnswer("CDS", Fault(fault));
            bench.Istiod.Push("CDS");
            Assert.NotEqual(GrpcStatusCode.OK, (await envoy.EndAsync()).Code);
        }
        await ConvergesAsync(bench);
    }

    [Theory, InlineData("goaway"), InlineData("reset"), InlineData("half-open"), InlineData("certificate"), InlineData("root")]
    public async Task Between_messages(string fault)
    {
        await using WireBench bench = await StartedAsync(keepAlive: fault == "half-open" ? TimeSpan.FromSeconds(1) : null);
        await using (AdsPeer envoy = await SyncedAsync(bench))
        {
            switch (fault)
            {
                case "goaway": // connection age: goodbye, what is under way goes on, then the end
                    bench.Istiod.Ads.Goodbye();
                    bench.Istiod.Push("CDS");
                    Assert.NotNull(await envoy.NextDeltaAsync());
                    bench.Istiod.Ads.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing transport due to: connection error: max connection age"));
                    break;
                case "half-open":
                    bench.Istiod.Front.StallAll(); // no FIN, no RST: only a missing sign of life tells
                    break;
                case "certificate":
                    bench.Istiod.Tls.Reissue();
                    break;
                case "root":
                    bench.Istiod.CertificateAuthority.RotateRoot(keepOld: true);
                    bench.Istiod.Tls.Reissue();
                    bench.WriteRoots();
                    break;
                default:
                    bench.Istiod.Front.ResetAll();
                    break;
            }
            if (fault is "certificate" or "root") // the running stream is not touched; the next one meets the new certificate
            {
                bench.Istiod.Push("CDS");
                Assert.NotNull(await envoy.NextDeltaAsync());
                bench.Istiod.Front.ResetAll();
            }
            Assert.Equal(GrpcStatusCode.Unavailable, (await envoy.EndAsync()).Code);
        }
        if (fault == "half-open") { bench.Istiod.Front.ResetAll(); } // the far side learns in its own time
        await ConvergesAsync(bench);
    }

    [Theory, InlineData(WholeAbove), InlineData(16)]
    public async Task A_link_that_drips_loses_nothing(int largeMessage)
    {
        await using WireBench bench = await StartedAsync(largeMessage);
        bench.Istiod.Front.Piece = 11;
        await ConvergesAsync(bench);
    }

    private static async Task<WireBench> StartedAsync(int largeMessage = WholeAbove, TimeSpan? keepAlive = null)
    {
        WireBench bench = await WireBench.StartedAsync(largeMessage: largeMessage, keepAlive: keepAlive);
        var mesh = new FixedSource(bench.Istiod.Source);
        for (int i = 0; i < 100; i++) // 200 KB: an answer of many frames and TLS records, so that half of it is half
        {
            string name = $"outbound|80||service-{i}.team.svc.cluster.local";
            mesh.Set(XdsTypeUrl.Cluster, name, ByteString.CopyFrom(new ProtoWriter().String(1, name).Bytes(43, new byte[2000]).ToArray()));
        }
        bench.Istiod.Source = mesh;
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        return bench;
    }

    private static async Task<AdsPeer> SyncedAsync(WireBench bench)
    {
        AdsPeer envoy = await bench.EnvoyAsync(delta: true);
        await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
        Assert.NotNull(await envoy.NextDeltaAsync());
        await bench.StreamsAsync(s => s is [var joint] && joint.State("CDS") != SyncState.NotSent && joint.State("NDS") == SyncState.Synced, "the joint stream alone");
        return envoy;
    }

    /// <summary>A new stream gets everything, istiod sees it alone, and the relay lives. Envoy retries until it is served, as Envoy does.</summary>
    private static async Task ConvergesAsync(WireBench bench)
    {
        bench.Istiod.Faults.Clear();
        using var deadline = new CancellationTokenSource(Test.Deadline);
        AdsPeer? again = null;
        while (!deadline.IsCancellationRequested && again is null)
        {
            again = await bench.EnvoyAsync(delta: true);
            await again.AskDeltaAsync("CDS", node: WireBench.Node());
            if (await again.NextDeltaAsync() is { Resources.Count: > 0 }) { break; }
            await again.DisposeAsync();
            again = null;
        }
        Assert.NotNull(again);
        await bench.StreamsAsync(s => s is [var joint] && joint.State("NDS") == SyncState.Synced && joint.State("CDS") != SyncState.NotSent, "one joint stream after the fault");
        Assert.Single(bench.Istiod.Registry.Entries);
        await again.DisposeAsync();
        await bench.StreamsAsync(s => s is [var own] && own.Requests.All(r => r.Type != "CDS") && own.State("NDS") == SyncState.Synced, "the own stream after it");
        Assert.False(bench.Proxy.Completion.IsCompleted);
        Assert.Empty(bench.Istiod.Violations);
    }

    private static AdsFault Fault(string fault) => fault switch
    {
        "end" => new AdsFault.End(GrpcStatusCode.Unavailable, "transport is closing"),
        "garbage" => new AdsFault.Garbage(),
        "reset" => new AdsFault.Reset(),
        "half" => new AdsFault.HalfMessage(60_000),
        _ => new AdsFault.GarbageResource(),
    };
}
