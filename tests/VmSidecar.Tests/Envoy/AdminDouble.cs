using System.Collections.Concurrent;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace VmSidecar.Tests.Envoy;

/// <summary>Envoy's admin port with exactly the requests the agent may make; anything else is a 400 and is remembered as a fault.</summary>
internal sealed class AdminDouble : IAsyncDisposable
{
    private const string UpdatesFilter = @"^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$";
    private const string ServerFilter = @"^(server\.state|listener_manager\.workers_started)";
    private readonly WebApplication _app;

    private AdminDouble(WebApplication app) => _app = app;

    public string Updates { get; set; } = "";

    public string Server { get; set; } = "";

    public string? ServerInfo { get; set; }

    public Queue<string> Connections { get; } = new();

    public int Status { get; set; } = 200;

    public ConcurrentQueue<string> Requests { get; } = new();

    public ConcurrentQueue<string> Faults { get; } = new();

    public int Port { get; private set; }

    public static async Task<AdminDouble> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(System.Net.IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        var admin = new AdminDouble(app);
        app.Run(admin.ServeAsync);
        await app.StartAsync();
        admin.Port = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port;
        return admin;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private Task ServeAsync(HttpContext http)
    {
        string request = $"{http.Request.Method} {http.Request.Path}{Uri.UnescapeDataString(http.Request.QueryString.Value ?? "")}";
        Requests.Enqueue(request);
        http.Response.StatusCode = Status;
        string? body = request switch
        {
            $"GET /stats?usedonly&filter={UpdatesFilter}" => Updates,
            $"GET /stats?usedonly&filter={ServerFilter}" => Server,
            "GET /stats?usedonly&filter=downstream_cx_active$" => Connections.Count > 1 ? Connections.Dequeue() : Connections.Peek(),
            "GET /server_info" => ServerInfo,
            "POST /drain_listeners?inboundonly&graceful" or "POST /drain_listeners?inboundonly&graceful&skip_exit" => "OK\n",
            _ => null,
        };
        if (body is not null) { return http.Response.WriteAsync(body); }
        Faults.Enqueue(request);
        http.Response.StatusCode = 400;
        return Task.CompletedTask;
    }
}
