using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>nghttp2's own client, which checks every frame it gets, reads a whole exchange off the relay's socket.</summary>
public sealed class NghttpTests
{
    [Theory, InlineData(true), InlineData(false)]
    public async Task A_client_that_checks_every_frame_gets_headers_messages_and_trailers(bool delta)
    {
        if (!File.Exists("/usr/bin/nghttp")) { Assert.Skip("nghttp is not installed (apt install nghttp2-client)"); }
        await using RelayBench bench = await new RelayBench(delta, names: false).StartAsync();
        byte[] request = XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node), response = Talk.Response(delta, XdsTypeUrl.Cluster, "n1", new byte[300_000]);
        string body = Path.Combine(bench.Folder, "request");
        await File.WriteAllBytesAsync(body, [0, 0, 0, 0, (byte)request.Length, .. request]);
        using var listener = new TcpListener(IPAddress.Loopback, 0); // nghttp speaks TCP only
        listener.Start();
        Task bridge = BridgeAsync(listener, bench.Options.Socket);
        using Process nghttp = Process.Start(new ProcessStartInfo("/usr/bin/nghttp",
            ["-nv", "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers", $"http://{listener.LocalEndpoint}{(delta ? XdsMessages.DeltaMethod : XdsMessages.SotwMethod)}"])
        { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> output = nghttp.StandardOutput.ReadToEndAsync(), errors = nghttp.StandardError.ReadToEndAsync();
        PairedCall istiod = await bench.Istiod.NextAsync();
        Assert.Equal(request, await istiod.Server.ReadBytesAsync());
        await istiod.Server.SayAsync(response);
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "schließt"));
        string seen = await output.WaitAsync(Test.Deadline);
        Assert.Contains(":status: 200", seen, StringComparison.Ordinal);
        Assert.Contains("content-type: application/grpc", seen, StringComparison.Ordinal);
        Assert.Contains("grpc-status: 14", seen, StringComparison.Ordinal);
        Assert.Contains("grpc-message: schlie%C3%9Ft", seen, StringComparison.Ordinal);
        Assert.DoesNotContain("RST_STREAM", seen, StringComparison.Ordinal);
        Assert.DoesNotContain("ERROR", seen.Replace("NO_ERROR", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Equal("", await errors.WaitAsync(Test.Deadline));
        await bridge.WaitAsync(Test.Deadline);
    }

    /// <summary>One connection, both ways, until either side ends.</summary>
    private static async Task BridgeAsync(TcpListener listener, string path)
    {
        using Socket client = await listener.AcceptSocketAsync();
        using var relay = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await relay.ConnectAsync(new UnixDomainSocketEndPoint(path));
        await using NetworkStream near = new(client), far = new(relay);
        Task up = CopyAsync(near, far, relay), down = CopyAsync(far, near, client);
        await Task.WhenAll(up, down);
    }

    private static async Task CopyAsync(NetworkStream from, NetworkStream to, Socket end)
    {
        try
        {
            await from.CopyToAsync(to);
            end.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException) { } // the other side has gone
    }
}
