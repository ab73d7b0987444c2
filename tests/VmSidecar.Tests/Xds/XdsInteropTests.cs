using System.Diagnostics;

using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>An ADS client of gRPC's C core through the relay's socket, in both protocols.</summary>
public sealed class XdsInteropTests
{
    private const string Python = "/usr/bin/python3";

    [Fact]
    public async Task A_foreign_client_streams_ADS_through_the_relay()
    {
        if (!File.Exists(Python) || !Directory.Exists("/usr/lib/python3/dist-packages/grpc")) { Assert.Skip("python3-grpcio is not installed (apt install python3-grpcio)"); }
        await using RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync();
        using var stop = new CancellationTokenSource();
        Task istiod = ServeAsync(bench, stop.Token);
        using Process client = Process.Start(new ProcessStartInfo(Python, [Path.Combine(AppContext.BaseDirectory, "Xds", "Interop", "ads.py"), Path.Combine(bench.Folder, "XDS")]) { RedirectStandardOutput = true })!;
        string output = await client.StandardOutput.ReadToEndAsync().WaitAsync(Test.Deadline);
        await client.WaitForExitAsync().WaitAsync(Test.Deadline);
        Assert.Equal(["echo-sotw OK 100", "echo-delta OK 100", "cancel OK cancelled", "half-close OK 1", "deadline DEADLINE_EXCEEDED"], output.TrimEnd().Split('\n'));
        await stop.CancelAsync();
        await istiod;
        Assert.Empty(bench.Istiod.Open);
    }

    /// <summary>Answers each request with a response that carries the request's bytes in an unknown field.</summary>
    private static async Task ServeAsync(RelayBench bench, CancellationToken stop)
    {
        List<Task> streams = [];
        try
        {
            while (true) { streams.Add(EchoAsync(await bench.Istiod.NextAsync().WaitAsync(stop))); }
        }
        catch (OperationCanceledException) { }
        await Task.WhenAll(streams);
    }

    private static async Task EchoAsync(PairedCall call)
    {
        bool delta = call.Method == XdsMessages.DeltaMethod;
        int count = 0;
        try
        {
            while (await call.Server.ReadAsync(call.ClientGone) is { } message)
            {
                using (message)
                {
                    byte[] response = [.. Talk.Response(delta, XdsTypeUrl.Cluster, "n" + ++count, [1]), .. new ProtoWriter().Bytes(900, message.Body.Span).ToArray()];
                    await call.Server.SendAsync(response, call.ClientGone);
                }
            }
            call.End(GrpcStatus.Ok); // as istiod does when its client has half-closed
        }
        catch (Exception e) when (e is OperationCanceledException or GrpcException) { }
    }
}
