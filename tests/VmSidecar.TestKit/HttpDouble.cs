using System.Net;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace VmSidecar.TestKit;

/// <summary>A real HTTP server on a free port of the loopback that answers as a test wants: an application, an agent, Envoy's admin port.</summary>
public static class HttpDouble
{
    /// <summary>Serves until it is disposed.</summary>
    public static async Task<WebApplication> ServeAsync(RequestDelegate serve)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        app.Run(serve);
        await app.StartAsync();
        return app;
    }

    /// <summary>Where it listens.</summary>
    public static int Port(WebApplication app) => new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()).Port;
}
