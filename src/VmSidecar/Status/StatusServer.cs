using System.Net;
using System.Net.Sockets;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Status;

/// <summary>
/// The status port (15020), plain HTTP/1.1 on all addresses. Started first and stopped last: it answers during the whole drain, with 503
/// for readiness, so that the last metrics can be scraped and balancers see a draining host, not a dead one. Owned by SidecarApp.
/// </summary>
internal sealed partial class StatusServer(StatusOptions options, StatusRoutes routes, ILogger log) : IComponent
{
    /// <summary>As the options' port: any free one, for tests. 0 means off, as statusPort does.</summary>
    public const int AnyPort = -1;

    private static readonly TimeSpan Linger = TimeSpan.FromMilliseconds(500); // for requests under way when the agent ends
    private WebApplication? _app;

    public string Name => "status";

    /// <summary>What the agent before this one in the process has left.</summary>
    public ListeningSockets Sockets { get; init; } = new();

    public Task Completion { get; } = new TaskCompletionSource().Task;

    /// <summary>The port really bound; 0 when off.</summary>
    public int Port { get; private set; }

    public async Task StartAsync(CancellationToken startup)
    {
        if (options.Port == 0) { return; }
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseSockets(sockets => sockets.CreateBoundListenSocket = Open).UseKestrelCore().ConfigureKestrel(Configure);
        _app = builder.Build();
        _app.Run(routes.ServeAsync);
        try
        {
            await _app.StartAsync(startup);
        }
        catch (IOException e) when (e.InnerException is AddressInUseException)
        {
            string owner = PortOwner.Find(options.Port)?.ToString() ?? "another process";
            throw new FatalException("status", $"port {options.Port} is taken by {owner}", "Stop that process, or set statusPort in the mesh file", e);
        }
        catch (Exception e) when (e is SocketException or UnauthorizedAccessException || e.InnerException is SocketException)
        {
            throw new FatalException("status", $"cannot listen on port {options.Port}: {e.Message}", "Set statusPort in the mesh file to a free port above 1023", e);
        }
        Port = BoundPort(_app);
        Opening(log, Port);
    }

    public async Task StopAsync(CancellationToken hard)
    {
        if (_app is null) { return; }
        using var linger = CancellationTokenSource.CreateLinkedTokenSource(hard);
        linger.CancelAfter(Linger);
        await _app.StopAsync(linger.Token);
        await _app.DisposeAsync();
        Terminated(log);
    }

    private Socket Open(EndPoint endPoint) => Sockets.Take(ListeningSockets.Named("status", endPoint), () => SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint));

    private void Configure(KestrelServerOptions kestrel)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxRequestBodySize = 64 * 1024; // nothing here takes a body
        kestrel.Limits.MaxConcurrentConnections = 512; // the port is open to the network
        kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
        kestrel.ListenAnyIP(Math.Max(options.Port, 0), listen => listen.Protocols = HttpProtocols.Http1);
    }

    private static int BoundPort(WebApplication app)
    {
        ICollection<string> addresses = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;
        return new Uri(addresses.First().Replace("[::]", "127.0.0.1", StringComparison.Ordinal)).Port;
    }

    [LoggerMessage(1, LogLevel.Information, "Opening status port {Port}")]
    private static partial void Opening(ILogger log, int port);

    [LoggerMessage(2, LogLevel.Information, "Status server has successfully terminated")]
    private static partial void Terminated(ILogger log);
}
