using System.Globalization;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

using VmSidecar.MiniEnvoy.Startup;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>Envoy's admin API, with the headers and texts of the recorded one. Owned by MiniEnvoyApp.</summary>
internal sealed class AdminServer(ServerState state) : IAsyncDisposable
{
    private readonly CancellationTokenSource _closing = new();
    private WebApplication? _app;

    public async Task StartAsync(CancellationToken stop)
    {
        if (state.Bootstrap.Admin is not { } address) { return; }
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k =>
        {
            k.AddServerHeader = false;
            k.Listen(IPAddress.Parse(address.Address), (int)address.PortValue);
        });
        _app = builder.Build();
        _app.Run(AnswerAsync);
        try { await _app.StartAsync(stop); }
        catch (IOException) { throw new BootstrapException($"cannot bind '{address.Address}:{address.PortValue}': Address already in use"); }
    }

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync();
        if (_app is not null)
        {
            using var now = new CancellationTokenSource(TimeSpan.Zero);
            try { await _app.StopAsync(now.Token); }
            catch (OperationCanceledException) { }
            await _app.DisposeAsync();
        }
        _closing.Dispose();
    }

    private async Task AnswerAsync(HttpContext http)
    {
        (int code, string type, string body) = Answer(http.Request);
        http.Response.StatusCode = code;
        http.Response.Headers.CacheControl = "no-cache, max-age=0";
        http.Response.Headers.XContentTypeOptions = "nosniff";
        http.Response.Headers.Server = "envoy";
        http.Response.ContentType = type;
        await http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(body), http.RequestAborted);
    }

    private (int Code, string Type, string Body) Answer(HttpRequest request)
    {
        const string Text = "text/plain; charset=UTF-8", Json = "application/json";
        string path = request.Path.Value ?? "/";
        if (path is "/drain_listeners" or "/healthcheck/fail" or "/healthcheck/ok" or "/quitquitquit" or "/logging" or "/reset_counters")
        {
            if (!HttpMethods.IsPost(request.Method)) { return (405, Text, "Method Not Allowed"); }
            return (200, Text, Act(path, request.Query));
        }
        (int number, string name) = state.State;
        state.Stats.Set("server.state", number);
        state.Stats.Set("server.live", number == 0 ? 1 : 0);
        state.Stats.Set("server.uptime", state.UptimeSeconds);
        return path switch
        {
            "/ready" => (number == 0 ? 200 : 503, Text, name + "\n"),
            "/stats" or "/stats/prometheus" => Stats(request.Query, path == "/stats/prometheus"),
            "/server_info" => (200, Json, AdminJson.ServerInfo(state)),
            "/config_dump" => (200, Json, AdminJson.ConfigDump(state)),
            "/certs" => (200, Json, AdminJson.Certificates(state)),
            "/listeners" => (200, Text, AdminText.Listeners(state.Listeners)),
            "/clusters" => (200, Text, AdminText.Clusters(state.Clusters)),
            "/" or "/help" => (200, Text, "admin commands are:\n  /certs\n  /clusters\n  /config_dump\n  /drain_listeners\n  /healthcheck/fail\n  /listeners\n  /logging\n  /quitquitquit\n  /ready\n  /server_info\n  /stats\n  /stats/prometheus\n"),
            _ => (404, Text, "invalid path. admin commands are:\n"),
        };
    }

    private string Act(string path, IQueryCollection query)
    {
        switch (path)
        {
            case "/drain_listeners": Drain(query.ContainsKey("inboundonly"), query.ContainsKey("graceful"), query.ContainsKey("skip_exit")); break;
            case "/healthcheck/fail": state.Drain.IsUnhealthy = true; break;
            case "/healthcheck/ok": state.Drain.IsUnhealthy = false; break;
            case "/quitquitquit": state.Quit.TrySetResult(); break;
            case "/logging":
                if (query["level"] is [{ } level] && EnvoyLog.Levels.Contains(level)) { state.Log.Level = level; }
                return $"active loggers:\n  main: {state.Log.Level}\n";
            default: break;
        }
        return "OK\n";
    }

    // graceful: told to close now, stopped after the drain time; a second call in the same direction does nothing.
    private void Drain(bool inboundOnly, bool graceful, bool skipExit)
    {
        if (!graceful)
        {
            state.Listeners.Stop(inboundOnly);
            return;
        }
        if (!state.Drain.Begin(inboundOnly) || skipExit) { return; }
        _ = Task.Delay(state.Drain.Time, TimeProvider.System, _closing.Token).ContinueWith(
            _ => state.Listeners.Stop(inboundOnly), _closing.Token, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
    }

    private (int Code, string Type, string Body) Stats(IQueryCollection query, bool prometheus)
    {
        Regex? filter = null;
        if (query["filter"] is [{ Length: > 0 } text])
        {
            try { filter = new Regex(text, RegexOptions.NonBacktracking); }
            catch (ArgumentException e) { return (400, "text/plain; charset=UTF-8", $"Invalid re2 regex: {e.Message}"); }
        }
        bool usedOnly = query.ContainsKey("usedonly");
        (string Name, long Value, bool Gauge)[] stats = [.. state.Stats.Read(usedOnly, filter)];
        string format = query["format"] is [{ } wanted] ? wanted : "";
        if (format == "json")
        {
            return (200, "application/json", "{\"stats\":[" + string.Join(',', stats.Select(s => string.Create(CultureInfo.InvariantCulture, $"{{\"name\":\"{s.Name}\",\"value\":{s.Value}}}"))) + "]}");
        }
        if (prometheus || format == "prometheus") { return (200, "text/plain; version=0.0.4", AdminText.Prometheus(stats)); }
        return (200, "text/plain; charset=UTF-8", string.Concat(stats.Select(s => string.Create(CultureInfo.InvariantCulture, $"{s.Name}: {s.Value}\n"))));
    }
}
