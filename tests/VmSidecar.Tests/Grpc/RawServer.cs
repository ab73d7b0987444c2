using System.Net;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

using VmSidecar.Grpc;

namespace VmSidecar.Tests.Grpc;

/// <summary>An HTTP/2 server that answers whatever a test wants, also what no gRPC server would.</summary>
internal sealed class RawServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private RawServer(WebApplication app, GrpcChannel channel)
    {
        _app = app;
        Channel = channel;
    }

    public GrpcChannel Channel { get; }

    public static async Task<RawServer> StartAsync(RequestDelegate answer)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0, l => l.Protocols = HttpProtocols.Http2));
        WebApplication app = builder.Build();
        app.Run(answer);
        await app.StartAsync();
        return new RawServer(app, new GrpcChannel(GrpcChannelOptions.For(new Uri(app.Urls.First()).Authority)));
    }

    public async ValueTask DisposeAsync()
    {
        await Channel.DisposeAsync();
        using var now = new CancellationTokenSource(TimeSpan.Zero);
        try { await _app.StopAsync(now.Token); }
        catch (OperationCanceledException) { }
        await _app.DisposeAsync();
    }
}
