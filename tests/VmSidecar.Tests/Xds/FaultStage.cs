using System.Text;

using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>One relay that meets faults at one stage of a joint stream, in one protocol: the link is held at the stage, and the fault strikes while it is held.</summary>
internal sealed class FaultStage(WireBench bench, string stage, bool delta) : IAsyncDisposable
{
    /// <summary>What strikes.</summary>
    public static readonly string[] Faults = ["refuse", "hang", "reset", "slow read", "half message", "garbage", "goaway", "age out", "certificate"];

    /// <summary>Where it strikes.</summary>
    public static readonly string[] Stages = ["connecting", "before the first answer", "within a message", "idle", "with an unacknowledged push"];

    /// <summary>The relay and its istiod.</summary>
    public WireBench Bench => bench;

    /// <summary>Streams of Envoys that are being served, as the metric says.</summary>
    public string Served
    {
        get
        {
            var page = new StringBuilder();
            bench.Metrics.WriteTo(page);
            return page.ToString().Split('\n').Single(l => l.StartsWith("istio_agent_xds_streams_served ", StringComparison.Ordinal)).Split(' ')[1];
        }
    }

    public string Name => $"{stage}, {(delta ? "delta" : "SotW")}";

    /// <summary>A relay that has its own stream, to an istiod whose answers take many frames and TLS records.</summary>
    public static async Task<FaultStage> StartedAsync(string stage, bool delta)
    {
        WireBench bench = await WireBench.StartedAsync(
            new IstiodOptions { GracePeriod = TimeSpan.FromHours(1) }, // its timer stays, so that timers can be counted
            largeMessage: delta ? 16 * 1024 : 256 * 1024); // passed on while it arrives, and gathered
        var mesh = new FixedSource(bench.Istiod.Source);
        for (int i = 0; i < 100; i++) // 200 KB, so that a part of it is a part
        {
            string name = $"outbound|80||service-{i}.team.svc.cluster.local";
            mesh.Set(XdsTypeUrl.Cluster, name, ByteString.CopyFrom(new ProtoWriter().String(1, name).Bytes(43, new byte[2000]).ToArray()));
        }
        bench.Istiod.Source = mesh;
        await bench.StreamsAsync(s => s is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        return new FaultStage(bench, stage, delta);
    }

    /// <summary>The fault strikes, and afterwards all is as before.</summary>
    public async Task SurviveAsync(string fault)
    {
        try
        {
            await StrikeAsync(fault);
            await ConvergesAsync();
        }
        catch (Exception e) when (e is not Xunit.Sdk.IAssertionException) { throw new InvalidOperationException($"{fault}, {Name}: {e.Message}", e); }
        Assert.Empty(bench.Istiod.Violations);
        Assert.False(bench.Proxy.Completion.IsCompleted);
    }

    public ValueTask DisposeAsync() => bench.DisposeAsync();

    private async Task StrikeAsync(string fault)
    {
        FrontDoor front = bench.Istiod.Front;
        DoorGate? gate = null;
        if (stage is "connecting") { gate = front.Hold(after: 0); }
        Task dialled = front.NextConnection;
        await using AdsPeer envoy = await bench.EnvoyAsync(delta);
        if (stage is "before the first answer") { bench.Istiod.Faults.OnAnswer("CDS", new AdsFault.Hang()); }
        await AskAsync(envoy);
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
                await AcknowledgedAsync(envoy);
                if (stage is "with an unacknowledged push") { bench.Istiod.Push("CDS"); await NextAsync(envoy); }
                gate = front.Hold(after: stage is "within a message" ? 60_000 : 0);
                if (stage is "within a message") { bench.Istiod.Push("CDS"); await gate.Reached.WaitAsync(Test.Deadline); }
                break;
        }
        await MeetAsync(fault);
        gate!.Release();
        if (fault is "hang") { front.ResetAll(); } // nothing ends by itself: the peer's host dies
        if (fault is "slow read" or "certificate" && stage is not "before the first answer") // what runs is not touched
        {
            if (stage is not ("connecting" or "within a message")) { bench.Istiod.Push("CDS"); }
            bool answered = await NextAsync(envoy);
            Assert.True(answered || (fault, stage) is ("certificate", "connecting"), $"{fault}, {stage}"); // a handshake may meet new certificate and old roots: the next one does not
        }
        if (fault is "slow read" or "certificate" or "goaway" || stage is "connecting") { front.ResetAll(); }
        GrpcStatus end = await envoy.EndAsync();
        Assert.True(end.Code is not GrpcStatusCode.OK, $"{fault}, {stage}: {end}");
        if (fault is not "refuse") { return; }
        await using AdsPeer refused = await bench.EnvoyAsync(delta);
        await AskAsync(refused);
        Assert.Equal(GrpcStatusCode.Unavailable, (await refused.EndAsync()).Code);
    }

    /// <summary>The fault itself, on a link that is held.</summary>
    private async Task MeetAsync(string fault)
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
    private async Task ConvergesAsync()
    {
        bench.Istiod.Faults.Clear();
        bench.Istiod.Front.Piece = 64 * 1024;
        bench.Istiod.Front.Reopen();
        using var deadline = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            deadline.Token.ThrowIfCancellationRequested();
            await using AdsPeer again = await bench.EnvoyAsync(delta);
            await AskAsync(again);
            if (!await AcknowledgedAsync(again)) { continue; }
            await bench.StreamsAsync(s => s is [var joint] && joint.State("NDS") == SyncState.Synced && joint.State("CDS") == SyncState.Synced, "one joint stream after the fault");
            Assert.Single(bench.Istiod.Registry.Entries);
            break;
        }
        await bench.StreamsAsync(s => s is [var own] && own.Requests.All(r => r.Type != "CDS") && own.State("NDS") == SyncState.Synced, "the own stream after it");
        await Test.UntilAsync(() => bench.Istiod.Front.Open == 1);
        await bench.CloseEnvoysAsync();
    }

    private Task AskAsync(AdsPeer envoy) => delta ? envoy.AskDeltaAsync("CDS", node: WireBench.Node()) : envoy.AskAsync("CDS", node: WireBench.Node());

    private async Task<bool> NextAsync(AdsPeer envoy) => delta ? await envoy.NextDeltaAsync() is not null : await envoy.NextAsync() is not null;

    /// <summary>Takes the answer and acknowledges it; false when the stream ended instead.</summary>
    private async Task<bool> AcknowledgedAsync(AdsPeer envoy)
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
