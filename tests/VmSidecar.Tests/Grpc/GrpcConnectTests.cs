using System.Net;
using System.Net.Security;
using System.Net.Sockets;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Coming to a connection, or to a reason that says which step failed.</summary>
public sealed class GrpcConnectTests
{
    [Fact]
    public async Task TLS_is_verified_and_the_server_sees_authority_and_client_certificate()
    {
        using var ca = new TestCertificates("root");
        await using GrpcPair pair = await GrpcPair.OverTlsAsync(
            (call, _) => Task.FromResult(new GrpcStatus(GrpcStatusCode.Aborted, $"{call.ClientCertificate?.GetSerialNumberString()} {call.Peer.Split(':')[0]}")),
            ca.Server("istiod.test", wantClient: true),
            ca.Client("istiod.test", ca.Leaf("me")));
        await using IGrpcClientCall call = await pair.OpenAsync();
        Assert.Null(await call.ReadTextAsync());
        Assert.Matches("^[0-9A-F]{8,} 127.0.0.1$", call.Status.Message);
    }

    [Fact]
    public async Task A_client_without_a_certificate_is_served_and_one_of_another_root_is_refused()
    {
        using var ca = new TestCertificates("root");
        using var other = new TestCertificates("other");
        Func<SslServerAuthenticationOptions> server = ca.Server("istiod.test", wantClient: true);
        await using GrpcPair without = await GrpcPair.OverTlsAsync((call, _) => Task.FromResult(new GrpcStatus(GrpcStatusCode.Aborted, $"{call.ClientCertificate is null}")), server, ca.Client("istiod.test"));
        await using IGrpcClientCall call = await without.OpenAsync();
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal("True", call.Status.Message);
        await using GrpcPair foreign = await GrpcPair.OverTlsAsync(GrpcPair.EchoAsync, server, ca.Client("istiod.test", other.Leaf("me")));
        Assert.Equal(GrpcStatusCode.Unavailable, await EndAsync(foreign));
    }

    [Fact]
    public async Task Each_connection_reads_its_TLS_options_anew()
    {
        using var ca = new TestCertificates("root");
        string name = "wrong.test";
        await using GrpcPair pair = await GrpcPair.OverTlsAsync(GrpcPair.EchoAsync, ca.Server("istiod.test"), () => ca.Client(name)());
        await Assert.ThrowsAsync<GrpcException>(() => pair.OpenAsync());
        name = "istiod.test";
        await using IGrpcClientCall call = await pair.OpenAsync();
        await call.SendAsync("x"u8.ToArray(), default);
        Assert.Equal("x", await call.ReadTextAsync());
    }

    [Fact]
    public async Task A_certificate_for_another_name_is_refused_and_said()
    {
        using var ca = new TestCertificates("root");
        await using GrpcPair pair = await GrpcPair.OverTlsAsync(GrpcPair.EchoAsync, ca.Server("other.test"), ca.Client("istiod.test"));
        Assert.Contains("for another name", await ReasonAsync(pair.Channel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_certificate_of_another_root_is_refused_and_said()
    {
        using var ca = new TestCertificates("root");
        using var other = new TestCertificates("other");
        await using GrpcPair pair = await GrpcPair.OverTlsAsync(GrpcPair.EchoAsync, other.Server("istiod.test"), ca.Client("istiod.test"));
        Assert.Contains("not trusted", await ReasonAsync(pair.Channel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_does_not_choose_HTTP2_is_refused_and_said()
    {
        using var ca = new TestCertificates("root");
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Task serving = ServeAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(listener.LocalEndpoint.ToString()!, ca.Client("istiod.test")));
        Assert.Contains("does not speak HTTP/2", await ReasonAsync(channel), StringComparison.Ordinal);
        await serving.WaitAsync(Test.Deadline);

        async Task ServeAsync()
        {
            using TcpClient client = await listener.AcceptTcpClientAsync();
            await using var tls = new SslStream(client.GetStream());
            await tls.AuthenticateAsServerAsync(ca.Server("istiod.test")());
            Assert.Equal(0, await tls.ReadAsync(new byte[1]));
        }
    }

    [Fact]
    public async Task A_closed_port_is_said()
    {
        await using var channel = new GrpcChannel(GrpcChannelOptions.For($"127.0.0.1:{FreePort.Next()}"));
        Assert.Contains("connection refused", await ReasonAsync(channel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unknown_name_is_said()
    {
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("no-such-name.invalid:15012"));
        Assert.Contains("name no-such-name.invalid cannot be resolved", await ReasonAsync(channel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_peer_that_accepts_and_says_nothing_is_given_up_and_the_step_is_said()
    {
        using var ca = new TestCertificates("root");
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(listener.LocalEndpoint.ToString()!, ca.Client("istiod.test")) with { ConnectTimeout = TimeSpan.FromMilliseconds(300) });
        Assert.Equal($"connection error: TLS handshake with {listener.LocalEndpoint}: no answer within 0.3s", await ReasonAsync(channel));
    }

    [Theory]
    [InlineData("istiod")]
    [InlineData("istiod:0x")]
    [InlineData(":15012")]
    public async Task A_target_that_is_none_is_said(string target)
    {
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(target));
        Assert.Contains("is not host:port", await ReasonAsync(channel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cancelling_while_connecting_is_a_cancellation()
    {
        using var ca = new TestCertificates("root");
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(listener.LocalEndpoint.ToString()!, ca.Client("istiod.test")));
        using var stop = new CancellationTokenSource();
        Task<IGrpcClientCall> opening = channel.OpenAsync("/a.B/C", [], stop.Token);
        using TcpClient accepted = await listener.AcceptTcpClientAsync();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening.WaitAsync(Test.Deadline));
    }

    [Fact]
    public async Task All_calls_of_a_channel_share_one_connection_and_it_closes_with_the_channel()
    {
        var peers = new HashSet<string>();
        var server = new GrpcServer(
            new GrpcServerOptions("test", null, new IPEndPoint(IPAddress.IPv6Loopback, 0), null, 1024),
            GrpcPair.Methods(async (call, aborted) =>
            {
                lock (peers) { peers.Add(call.Peer); }
                return await GrpcPair.EchoAsync(call, aborted);
            }),
            NullLogger.Instance);
        await server.StartAsync(default);
        await using (var channel = new GrpcChannel(GrpcChannelOptions.For(server.Bound!.ToString())))
        {
            for (int i = 0; i < 5; i++)
            {
                IGrpcClientCall call = await channel.OpenAsync(GrpcPair.Method, [], default);
                await call.SendAsync("x"u8.ToArray(), default);
                Assert.Equal("x", await call.ReadTextAsync());
            }
        }
        Assert.Single(peers);
        await server.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline); // returns: no connection is left
        server.Dispose();
    }

    [Fact]
    public async Task A_taken_port_is_fatal_and_says_where()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var server = new GrpcServer(new GrpcServerOptions("sds", null, (IPEndPoint)listener.LocalEndpoint, null, 1024), GrpcPair.Methods(GrpcPair.EchoAsync), NullLogger.Instance);
        FatalException fatal = await Assert.ThrowsAsync<FatalException>(() => server.StartAsync(default));
        Assert.Contains(listener.LocalEndpoint.ToString()!, fatal.Problem, StringComparison.Ordinal);
        await server.StopAsync(default);
    }

    [Fact]
    public async Task An_old_socket_is_replaced_and_anyone_may_connect_to_the_new_one()
    {
        string folder = Path.Combine(Path.GetTempPath(), $"vsc-grpc-{Guid.NewGuid():N}");
        string path = Path.Combine(folder, "proxy", "XDS");
        for (int run = 0; run < 2; run++)
        {
            using var server = new GrpcServer(GrpcServerOptions.OnSocket("xds", path), GrpcPair.Methods(GrpcPair.EchoAsync), NullLogger.Instance);
            await server.StartAsync(default);
            Assert.Equal(Convert.ToInt32("666", 8), (int)File.GetUnixFileMode(path));
            Assert.Equal(Convert.ToInt32("750", 8), (int)File.GetUnixFileMode(Path.GetDirectoryName(path)!));
            await server.StopAsync(default);
            if (run == 0) { await File.WriteAllTextAsync(path, "left over"); }
        }
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task A_folder_that_cannot_be_made_is_fatal()
    {
        using var server = new GrpcServer(GrpcServerOptions.OnSocket("xds", "/dev/null/XDS"), GrpcPair.Methods(GrpcPair.EchoAsync), NullLogger.Instance);
        Assert.Contains("/dev/null/XDS", (await Assert.ThrowsAsync<FatalException>(() => server.StartAsync(default))).Problem, StringComparison.Ordinal);
        await server.StopAsync(default);
    }

    [Theory]
    [InlineData(true, "received prior goaway: code: NO_ERROR")]
    [InlineData(false, "error reading from server: EOF")]
    public async Task A_connection_closed_after_a_goodbye_or_without_one_is_a_graceful_end_that_says_which(bool goodbye, string says)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var opened = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task serving = ServeAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(listener.LocalEndpoint.ToString()!));
        await using IGrpcClientCall call = await channel.OpenAsync(GrpcPair.Method, [], default).WaitAsync(Test.Deadline);
        opened.SetResult();
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, call.Status.Code);
        Assert.Contains(says, call.Status.Message, StringComparison.Ordinal);
        Assert.True(call.EndedGracefully);
        await serving.WaitAsync(Test.Deadline);

        async Task ServeAsync()
        {
            using TcpClient client = await listener.AcceptTcpClientAsync();
            NetworkStream stream = client.GetStream();
            byte[] frame = new byte[16 * 1024];
            await stream.ReadExactlyAsync(frame.AsMemory(0, 24)); // preface
            await stream.WriteAsync(new byte[] { 0, 0, 0, 4, 0, 0, 0, 0, 0 }); // SETTINGS
            do
            {
                await stream.ReadExactlyAsync(frame.AsMemory(0, 9));
                await stream.ReadExactlyAsync(frame.AsMemory(9, (frame[1] << 8) | frame[2]));
            }
            while (frame[3] != 1); // HEADERS of the call
            await opened.Task.WaitAsync(Test.Deadline); // closed earlier, the call would not open at all
            if (goodbye) { await stream.WriteAsync(new byte[] { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 }); } // GOAWAY, last stream 1, NO_ERROR
            client.Client.Shutdown(SocketShutdown.Send);
            while (await stream.ReadAsync(frame) > 0) { }
        }
    }

    private static async Task<string> ReasonAsync(GrpcChannel channel)
    {
        GrpcException failed = await Assert.ThrowsAsync<GrpcException>(() => channel.OpenAsync(GrpcPair.Method, [], default).WaitAsync(Test.Deadline));
        Assert.Equal(GrpcStatusCode.Unavailable, failed.Status.Code);
        return failed.Status.Message;
    }

    // With TLS 1.3 a server refuses the client's certificate after the client's side of the handshake is done.
    private static async Task<GrpcStatusCode> EndAsync(GrpcPair pair)
    {
        try
        {
            await using IGrpcClientCall call = await pair.OpenAsync();
            Assert.Null(await call.ReadTextAsync());
            return call.Status.Code;
        }
        catch (GrpcException e) { return e.Status.Code; }
    }
}
