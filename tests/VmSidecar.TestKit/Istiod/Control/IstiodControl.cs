using System.Text.Json.Nodes;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

using VmSidecar.TestKit.Istiod.Mesh;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>
/// Looks into and steers a FakeIstiod from another process: HTTP and JSON on a unix socket. GET entries, streams, violations,
/// calls; POST route, mtls, plain, push, stop, start, kill, token, rotate-root. Anything else is 404, a bad argument 400.
/// </summary>
internal sealed class IstiodControl(FakeIstiod istiod, string socket) : IAsyncDisposable
{
    private WebApplication? _app;

    public async Task StartAsync(CancellationToken stop)
    {
        File.Delete(socket);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton<IHostLifetime, NoSignals>();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenUnixSocket(socket));
        _app = builder.Build();
        _app.Run(AnswerAsync);
        await _app.StartAsync(stop);
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is null) { return; }
        await _app.DisposeAsync();
        File.Delete(socket);
    }

    private async Task AnswerAsync(HttpContext http)
    {
        JsonNode? answer;
        try { answer = await DoAsync(http.Request.Method + " " + http.Request.Path.Value, name => http.Request.Query[name].ToString()); }
        catch (ArgumentException e)
        {
            http.Response.StatusCode = 400;
            await http.Response.WriteAsync(e.Message);
            return;
        }
        if (answer is null)
        {
            http.Response.StatusCode = 404;
            return;
        }
        http.Response.ContentType = "application/json";
        await http.Response.WriteAsync(answer.ToJsonString());
    }

    private async Task<JsonNode?> DoAsync(string what, Func<string, string> argument)
    {
        switch (what)
        {
            case "GET /entries": return ControlJson.Entries(istiod);
            case "GET /streams": return ControlJson.Streams(istiod);
            case "GET /violations": return ControlJson.Texts(istiod.Violations);
            case "GET /history": return ControlJson.Texts(istiod.Registry.History);
            case "GET /calls": return ControlJson.Calls(istiod);
            case "POST /route": Route(argument("subset")); break;
            case "POST /mtls": Mtls(argument("mode")); break;
            case "POST /plain":
                istiod.Mesh = istiod.Mesh with { PlainHosts = istiod.Mesh.PlainHosts.Add(argument("host")) };
                istiod.Push("CDS");
                break;
            case "POST /push": istiod.Push(argument("type") is { Length: > 0 } type ? [type] : []); break;
            case "POST /stop": await istiod.StopAsync(); break;
            case "POST /kill": await istiod.KillAsync(); break;
            case "POST /start": await istiod.StartAsync(); break;
            case "POST /rotate-root":
                istiod.CertificateAuthority.RotateRoot(argument("keep") != "false");
                istiod.Tls.Reissue();
                break;
            case "POST /token": return new JsonObject { ["token"] = istiod.Tokens.Make(argument("namespace"), argument("account")) };
            default: return null;
        }
        return new JsonObject { ["done"] = what };
    }

    private void Route(string subset)
    {
        if (subset is not ("vm" or "docker" or "both")) { throw new ArgumentException($"subset '{subset}' is not vm, docker or both"); }
        istiod.Mesh = istiod.Mesh.RouteTo(ScenarioMesh.Host, subset == "both" ? null : subset);
        istiod.Push("RDS");
    }

    private void Mtls(string mode)
    {
        if (!Enum.TryParse(mode, ignoreCase: true, out MtlsMode parsed)) { throw new ArgumentException($"mode '{mode}' is not strict, permissive or disable"); }
        istiod.Mesh = istiod.Mesh with { Mtls = parsed };
        istiod.Push("CDS", "LDS");
    }

    /// <summary>Signals belong to the program.</summary>
    private sealed class NoSignals : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
