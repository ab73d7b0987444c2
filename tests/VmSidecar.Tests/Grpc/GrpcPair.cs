using System.Net;
using System.Net.Security;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

namespace VmSidecar.Tests.Grpc;

/// <summary>A server with one method and a channel to it, over a unix socket in a folder of its own or over TLS. Disposes everything.</summary>
internal sealed class GrpcPair : IAsyncDisposable
{
    public const string Method = "/test.Echo/Call";

    private GrpcPair(GrpcServer server, GrpcChannel channel)
    {
        Server = server;
        Channel = channel;
    }

    public GrpcServer Server { get; }

    public GrpcChannel Channel { get; }

    public static async Task<GrpcPair> OverUnixAsync(GrpcHandler handler, int serverMax = 200 * 1024 * 1024, int clientMax = 200 * 1024 * 1024)
    {
        string path = Path.Combine(Path.GetTempPath(), $"vsc-grpc-{Guid.NewGuid():N}", "S");
        var server = new GrpcServer(GrpcServerOptions.OnSocket("test", path) with { MaxReceive = serverMax }, Methods(handler), NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        return new GrpcPair(server, new GrpcChannel(GrpcChannelOptions.For($"unix:{path}") with { MaxReceive = clientMax }));
    }

    public static async Task<GrpcPair> OverTlsAsync(GrpcHandler handler, Func<SslServerAuthenticationOptions> server, Func<SslClientAuthenticationOptions> client)
    {
        var listening = new GrpcServer(new GrpcServerOptions("test", null, new IPEndPoint(IPAddress.Loopback, 0), server, 1024 * 1024), Methods(handler), NullLogger.Instance);
        await listening.StartAsync(CancellationToken.None);
        return new GrpcPair(listening, new GrpcChannel(GrpcChannelOptions.For(listening.Bound!.ToString(), client, "istiod.test")));
    }

    public static Dictionary<string, GrpcHandler> Methods(GrpcHandler handler) => new() { [Method] = handler };

    /// <summary>Sends every message back until the client has finished.</summary>
    public static async Task<GrpcStatus> EchoAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        while (await call.ReadAsync(aborted) is { } message)
        {
            using (message) { await call.SendAsync(message.Body, aborted); }
        }
        return GrpcStatus.Ok;
    }

    public Task<IGrpcClientCall> OpenAsync(CancellationToken stop = default) => Channel.OpenAsync(Method, [], stop).WaitAsync(Test.Deadline, stop);

    public async ValueTask DisposeAsync()
    {
        await Channel.DisposeAsync();
        using var hard = new CancellationTokenSource(TimeSpan.Zero);
        await Server.StopAsync(hard.Token);
        Server.Dispose();
        if (Channel.Options.Target.StartsWith("unix:", StringComparison.Ordinal)) { Directory.Delete(Path.GetDirectoryName(Channel.Options.Target[5..])!, recursive: true); }
    }
}
