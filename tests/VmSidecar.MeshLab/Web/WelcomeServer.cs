using System.Net;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace VmSidecar.MeshLab.Web;

/// <summary>The application of the lab: answers every request with its welcome and what it was told of the caller.</summary>
internal static class WelcomeServer
{
    /// <summary>Serves until the token fires. Arguments: address, port, text.</summary>
    public static async Task<int> RunAsync(string address, int port, string text, CancellationToken stop)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(IPAddress.Parse(address), port));
        await using WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync(
            $"{text}\npeer={context.Request.Headers["x-forwarded-client-cert"]}\n", stop));
        await app.StartAsync(stop);
        await Console.Out.WriteLineAsync($"listening on {address}:{port}");
        try { await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop); }
        catch (OperationCanceledException) { }
        await app.StopAsync(CancellationToken.None);
        return 0;
    }
}
