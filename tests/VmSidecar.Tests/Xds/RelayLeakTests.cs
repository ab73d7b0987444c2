using System.Diagnostics;

using VmSidecar.Grpc;
using VmSidecar.Linux.Memory;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Streams that come and go, well and badly, leave no socket, no block and no growing heap behind.</summary>
public sealed class RelayLeakTests
{
    private static readonly AdsFault?[] Ways =
        [null, new AdsFault.Garbage(), new AdsFault.Reset(), new AdsFault.HalfMessage(3000), new AdsFault.End(GrpcStatusCode.Unavailable, "transport is closing")];

    [Fact]
    public Task Good_and_bad_ends_leave_nothing_behind() => OwnProcess.RunAsync($"{typeof(RelayLeakTests).FullName}.{nameof(Measured)}");

    /// <summary>The body, for a process of its own.</summary>
    [Fact(Explicit = true)]
    public async Task Measured()
    {
        await using WireBench bench = await WireBench.StartedAsync(largeMessage: 16);
        await RoundAsync(bench); // what is made once is made
        (int sockets, int blocks, long heap) = (Sockets(), NativeBlock.InUse, Heap());
        for (int i = 0; i < 8; i++) { await RoundAsync(bench); } // 40 streams: a session that stays, with its buffers, is more than 30 KB
        // The kernel's and Kestrel's ends close behind ours, so the figures come down to those of one round; a leak in any of the ways is eight more.
        try { await Test.UntilAsync(() => Sockets() <= sockets && NativeBlock.InUse <= blocks && Heap() - heap < 1024 * 1024); }
        catch (OperationCanceledException) { Assert.Fail($"sockets, blocks, bytes of heap: {(sockets, blocks, heap)} after one round, {(Sockets(), NativeBlock.InUse, Heap())} after nine"); }
    }

    [Fact]
    public async Task Clients_that_are_not_Envoy_are_served_and_forgotten()
    {
        if (!File.Exists("/usr/bin/h2load")) { Assert.Skip("h2load is not installed (apt install nghttp2-client)"); }
        await using RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync();
        string body = Path.Combine(bench.Folder, "request");
        byte[] request = VmSidecar.Xds.XdsMessages.Subscribe(delta: true, Wire.Protobuf.XdsTypeUrl.Cluster, Talk.Node);
        await File.WriteAllBytesAsync(body, [0, 0, 0, 0, (byte)request.Length, .. request]);
        using var stop = new CancellationTokenSource();
        Task istiod = EndAllAsync(bench, stop.Token);
        using Process load = Process.Start(new ProcessStartInfo("/usr/bin/h2load",
            ["-n", "300", "-c", "3", "-m", "5", "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers", "--base-uri", "unix:" + bench.Options.Socket,
            "http://xds-grpc" + VmSidecar.Xds.XdsMessages.DeltaMethod])
        { RedirectStandardOutput = true })!;
        string output = await load.StandardOutput.ReadToEndAsync().WaitAsync(Test.Deadline);
        await load.WaitForExitAsync().WaitAsync(Test.Deadline);
        Assert.Contains("300 succeeded, 0 failed, 0 errored, 0 timeout", output, StringComparison.Ordinal);
        PairedCall envoy = bench.Envoy(delta: true); // and it still serves
        await envoy.Client.SayAsync(request);
        Assert.Equal(GrpcStatus.Ok, await envoy.Ended.WaitAsync(Test.Deadline));
        await stop.CancelAsync();
        await istiod;
        Assert.Empty(bench.Istiod.Open);
    }

    /// <summary>An istiod that ends each stream once its client has asked.</summary>
    private static async Task EndAllAsync(RelayBench bench, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                PairedCall call = await bench.Istiod.NextAsync().WaitAsync(stop);
                call.End(GrpcStatus.Ok);
            }
        }
        catch (OperationCanceledException) { }
    }

    private static async Task RoundAsync(WireBench bench)
    {
        foreach (AdsFault? way in Ways)
        {
            if (way is not null) { bench.Istiod.Faults.OnAnswer("CDS", way); }
            await using (AdsPeer envoy = await bench.EnvoyAsync(delta: true))
            {
                await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
                await envoy.NextDeltaAsync();
            }
            bench.Istiod.Faults.Clear();
            await bench.CloseEnvoysAsync();
            await bench.StreamsAsync(s => s is [var own] && own.Requests.All(r => r.Type != "CDS") && own.State("NDS") == SyncState.Synced, "the own stream is back");
        }
    }

    private static int Sockets() => new DirectoryInfo("/proc/self/fd").EnumerateFileSystemInfos().Count(f => f.LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);

    private static long Heap()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return GC.GetTotalMemory(forceFullCollection: true);
    }
}
