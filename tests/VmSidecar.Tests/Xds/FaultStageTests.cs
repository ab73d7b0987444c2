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
/// Every fault at every stage of a joint stream, in both protocols. The link is held at the stage, the fault strikes while it is held, and afterwards a new Envoy gets
/// everything, istiod sees one stream, the VM is registered once and no connection is left. One relay goes through all faults of a stage, one after the other.
/// </summary>
public sealed class FaultStageTests
{
    private static readonly string[] Faults = ["refuse", "hang", "reset", "slow read", "half message", "garbage", "goaway", "age out", "certificate"];

    [Theory]
    [InlineData("connecting", false), InlineData("connecting", true)]
    [InlineData("before the first answer", false), InlineData("before the first answer", true)]
    [InlineData("within a message", false), InlineData("within a message", true)]
    [InlineData("idle", false), InlineData("idle", true)]
    [InlineData("with an unacknowledged push", false), InlineData("with an unacknowledged push", true)]
    public async Task Each_fault_at(string stage, bool delta)
    {
        await using WireBench bench = await StartedAsync(largeMessage: delta ? 16 * 1024 : 256 * 1024); // passed on while it arrives, and gathered
        foreach (string fault in Faults)
        {
            try
            {
                await StrikeAsync(bench, stage, fault, delta);
                await ConvergesAsync(bench, delta);
            }
            catch (Exception e) when (e is not Xunit.Sdk.IAssertionException) { throw new InvalidOperationException($"{fault}, {stage}: {e.Message}", e); }
        }
        Assert.Empty(bench.Istiod.Violations);
        Assert.False(bench.Proxy.Completion.IsCompleted);
    }

    private static async Task StrikeAsync(WireBench bench, string stage, string fault, bool delta)
    {
        FrontDoor front = bench.Istiod.Front;
        DoorGate? gate = null;
        if (stage is "connecting") { gate = front.Hold(after: 0); }
        Task dialled = front.NextConnection;
        await using AdsPeer envoy = await bench.EnvoyAsync(delta);
        if (stage is "before the first answer") { bench.Istiod.Faults.OnAnswer("CDS", new AdsFault.Hang()); }
        await AskAsync(envoy, delta);
        switch (stage)
        {
            case "connecting":
                await dialled.WaitAsync(Test.Deadline);
                break;
            case "before the first answer":
                await bench.StreamsAsync(s => s.Any(x => x.Requests.Any(r => r.Type == "CDS")), "the request");
                gate = front.Hold(after: 0);
                break;
            default:
                await AcknowledgedAsync(bench, envoy, delta);
                if (stage is "with an unacknowledged push") { bench.Istiod.Push("CDS"); await NextAsync(envoy, delta); }
                gate = front.Hold(after: stage is "within a message" ? 60_000 : 0);
                if (stage is "within a message") { bench.Istiod.Push("CDS"); await gate.Reached.WaitAsync(Test.Deadline); }
                break;
        }
        await MeetAsync(bench, fault);
        gate!.Release();
        if (fault is "hang") { front.ResetAll(); } // nothing ends by itself: the peer's host dies
        if (fault is "slow read" or "certificate" && stage is not "before the first answer") // what runs is not touched
        {
            if (stage is not ("connecting" or "within a message")) { bench.Istiod.Push("CDS"); }
            bool answered = await NextAsync(envoy, delta);
            Assert.True(answered || (fault, stage) is ("certificate", "connecting"), $"{fault}, {stage}"); // a handshake may meet new certificate and old roots: the next one does not
        }
        if (fault is "slow read" or "certificate" or "goaway" || stage is "connecting") { front.ResetAll(); }
        GrpcStatus end = await envoy.EndAsync();
        Assert.True(end.Code is not GrpcStatusCode.OK, $"{fault}, {stage}: {end}");
        if (fault is not "refuse") { return; }
        await using AdsPeer refused = await bench.EnvoyAsync(delta);
        await AskAsync(refused, delta);
        Assert.Equal(GrpcStatusCode.Unavailable, (await refused.EndAsync()).Code);
    }

    /// <summary>The fault itself, on a link that is held.</summary>
    private static async Task MeetAsync(WireBench bench, string fault)
    {
        FrontDoor front = bench.Istiod.Front;
        switch (fault)
        {
            case "refuse":
                front.Refuse();
                front.ResetAll();
                break;
            case "hang": front.StallAll(); break;
            case "reset": front.ResetAll(); break;
            case "slow read": front.Piece = 1000; break;
            case "half message": front.CloseAll(); break;
            case "garbage": front.GarbleAll(); break;
            case "goaway": bench.Istiod.Ads.Goodbye(); break;
            case "age out":
                bench.Istiod.Ads.Goodbye();
                bench.Istiod.Ads.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing transport due to: connection error: max connection age"));
                break;
            default:
                bench.Istiod.CertificateAuthority.RotateRoot(keepOld: true);
                bench.Istiod.Tls.Reissue();
                bench.WriteRoots();
                break;
        }
    }

    /// <summary>A new stream gets everything, istiod sees it alone, and the relay lives. Envoy retries until it is served, as Envoy does.</summary>
    private static async Task ConvergesAsync(WireBench bench, bool delta)
    {
        bench.Istiod.Faults.Clear();
        bench.Istiod.Front.Piece = 64 * 1024;
        bench.Istiod.Front.Reopen();
        using var deadline = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            deadline.Token.ThrowIfCancellationRequested();
            await using AdsPeer again = await bench.EnvoyAsync(delta);
            await AskAsync(again, delta);
            if (!await AcknowledgedAsync(bench, again, delta)) { continue; }
            await bench.StreamsAsync(s => s is [var joint] && joint.State("NDS") == SyncState.Synced && joint.State("CDS") == SyncState.Synced, "one joint stream after the fault");
            Assert.Single(bench.Istiod.Registry.Entries);
            break;
        }
        await bench.StreamsAsync(s => s is [var own] && own.Requests.All(r => r.Type != "CDS") && own.State("NDS") == SyncState.Synced, "the own stream after it");
        await Test.UntilAsync(() => bench.Istiod.Front.Open == 1);
        await bench.CloseEnvoysAsync();
    }

    private static async Task<WireBench> StartedAsync(int largeMessage)
    {
        WireBench bench = await WireBench.StartedAsync(largeMessage: largeMessage);
        var mesh = new FixedSource(bench.Istiod.Source);
        for (int i = 0; i < 100; i++) // 200 KB: an answer of many frames and TLS records, so that a part of it is a part
        {
            string name = $"outbound|80||service-{i}.team.svc.cluster.local";
            mesh.Set(XdsTypeUrl.Cluster, name, ByteString.CopyFrom(new ProtoWriter().String(1, name).Bytes(43, new byte[2000]).ToArray()));
        }
        bench.Istiod.Source = mesh;
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        return bench;
    }

    private static Task AskAsync(AdsPeer envoy, bool delta) => delta ? envoy.AskDeltaAsync("CDS", node: WireBench.Node()) : envoy.AskAsync("CDS", node: WireBench.Node());

    private static async Task<bool> NextAsync(AdsPeer envoy, bool delta) => delta ? await envoy.NextDeltaAsync() is not null : await envoy.NextAsync() is not null;

    /// <summary>Takes the answer and acknowledges it; false when the stream ended instead.</summary>
    private static async Task<bool> AcknowledgedAsync(WireBench bench, AdsPeer envoy, bool delta)
    {
        if (delta)
        {
            if (await envoy.NextDeltaAsync() is not { Resources.Count: >= 100 } answer) { return false; }
            await envoy.AskDeltaAsync("CDS", answers: answer);
        }
        else
        {
            if (await envoy.NextAsync() is not { Resources.Count: >= 100 } answer) { return false; }
            await envoy.AskAsync("CDS", answers: answer);
        }
        await bench.StreamsAsync(s => s.Any(x => x.State("CDS") == SyncState.Synced && x.State("NDS") == SyncState.Synced), "synced");
        return true;
    }
}
