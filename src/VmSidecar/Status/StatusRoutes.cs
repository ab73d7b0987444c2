using System.Net;
using System.Text;
using System.Text.Json.Nodes;

using Microsoft.AspNetCore.Http;

namespace VmSidecar.Status;

/// <summary>What the status port answers, path by path (reference: pilot-agent's table). Who may ask is checked before how.</summary>
internal sealed class StatusRoutes(ReadinessProbe readiness, MetricsPage metrics, StatusHooks hooks, bool metricsLocalOnly)
{
    /// <summary>One request.</summary>
    public Task ServeAsync(HttpContext http)
    {
        string path = http.Request.Path.Value ?? "/";
        if (path.Contains("//", StringComparison.Ordinal)) { return Redirect(http, path); }
        return path switch
        {
            "/healthz/ready" => ReadyAsync(http),
            "/healthz/live" => Text(http, 200, ""),
            "/stats/prometheus" or "/metrics" => metricsLocalOnly ? LocalAsync(http, metrics.ServeAsync) : metrics.ServeAsync(http),
            "/quitquitquit" => LocalPostAsync(http, QuitAsync),
            "/drain" => LocalPostAsync(http, DrainAsync),
            "/debug/ndsz" => LocalAsync(http, NamesAsync),
            "/debug/dnsz" => LocalAsync(http, NameAsync),
            "/debug/syncz" => LocalAsync(http, SyncAsync),
            "/debug/config_dump" => LocalAsync(http, ConfigAsync),
            "/debug/statusz" => LocalAsync(http, SnapshotAsync),
            _ when path.StartsWith("/app-health/", StringComparison.Ordinal) || path.StartsWith("/app-lifecycle/", StringComparison.Ordinal) =>
                Text(http, 400, $"app prober config does not exists for {path}"),
            _ => Error(http, 404, "404 page not found"),
        };
    }

    /// <summary>Empty body as pilot-agent's, 200 or 503; <c>?verbose</c> adds the reason.</summary>
    private async Task ReadyAsync(HttpContext http)
    {
        string? reason = await readiness.CheckAsync(http.RequestAborted);
        bool verbose = http.Request.Query.ContainsKey("verbose");
        await Text(http, reason is null ? 200 : 503, verbose ? (reason ?? "ready") + "\n" : "");
    }

    private async Task QuitAsync(HttpContext http)
    {
        await Text(http, 200, "OK");
        await http.Response.CompleteAsync(); // the answer is out before the stop begins
        hooks.Quit();
    }

    private async Task DrainAsync(HttpContext http)
    {
        string? problem = await hooks.Drain(http.RequestAborted);
        await (problem is null ? Text(http, 200, "OK") : Error(http, 500, problem));
    }

    private Task NamesAsync(HttpContext http) => Json(http, hooks.Names() is { } table ? (200, table) : (404, "{}"));

    /// <summary><c>?name=NAME&amp;type=TYPE</c>: the cache, and every server asked now.</summary>
    private async Task NameAsync(HttpContext http)
    {
        string name = http.Request.Query["name"].ToString(), type = http.Request.Query["type"].ToString();
        JsonObject? report = await hooks.Name(name, type.Length == 0 ? "A" : type, http.RequestAborted);
        await (report is null ? Error(http, 400, "give a DNS name and a record type: ?name=NAME&type=TYPE (or DNS is not served here)") : Json(http, (200, report.ToJsonString())));
    }

    private Task SnapshotAsync(HttpContext http) => Json(http, (200, hooks.Snapshot().ToJsonString()));

    private Task SyncAsync(HttpContext http) => Json(http, (200, hooks.Sync().ToJsonString()));

    /// <summary>The list; with <c>?type=LDS&amp;name=NAME</c> one resource, as the bytes that were relayed.</summary>
    private Task ConfigAsync(HttpContext http)
    {
        string? type = http.Request.Query["type"], name = http.Request.Query["name"];
        if (type is null && name is null) { return Json(http, (200, hooks.Config().ToJsonString())); }
        if (type is null || name is null) { return Error(http, 400, "give both type (such as LDS, or a type URL) and name, or neither"); }
        if (hooks.Resource(type, name) is not { } resource) { return Error(http, 404, $"no {type} resource of this name was relayed and accepted"); }
        http.Response.ContentType = "application/x-protobuf";
        return Write(http, 200, resource);
    }

    private static Task LocalPostAsync(HttpContext http, Func<HttpContext, Task> serve) => LocalAsync(http, inner =>
        HttpMethods.IsPost(inner.Request.Method) ? serve(inner) : Error(inner, 405, "Method Not Allowed"));

    /// <summary>
    /// For callers on this host. 127.0.0.6 is not one: Envoy forwards mesh peers' requests from that address when the port
    /// is not excluded from capture, and they must not be able to stop the agent.
    /// </summary>
    private static Task LocalAsync(HttpContext http, Func<HttpContext, Task> serve) =>
        IsLocal(http.Connection.RemoteIpAddress) ? serve(http) : Error(http, 403, "Only requests from localhost are allowed");

    internal static bool IsLocal(IPAddress? peer)
    {
        if (peer is null) { return false; }
        IPAddress address = peer.IsIPv4MappedToIPv6 ? peer.MapToIPv4() : peer;
        return IPAddress.IsLoopback(address) && !address.Equals(PassthroughSource);
    }

    private static readonly IPAddress PassthroughSource = new([127, 0, 0, 6]);

    private static Task Redirect(HttpContext http, string path)
    {
        while (path.Contains("//", StringComparison.Ordinal)) { path = path.Replace("//", "/", StringComparison.Ordinal); }
        http.Response.Headers.Location = new PathString(path).ToUriComponent() + http.Request.QueryString; // escaped again: a decoded line break is no header
        return Text(http, 301, "");
    }

    private static Task Json(HttpContext http, (int Status, string Body) answer)
    {
        http.Response.ContentType = "application/json";
        return Write(http, answer.Status, answer.Body);
    }

    private static Task Text(HttpContext http, int status, string body)
    {
        if (body.Length > 0) { http.Response.ContentType = "text/plain; charset=utf-8"; }
        return Write(http, status, body);
    }

    private static Task Error(HttpContext http, int status, string message)
    {
        http.Response.Headers.XContentTypeOptions = "nosniff";
        return Text(http, status, message + "\n");
    }

    private static Task Write(HttpContext http, int status, string body) => Write(http, status, Encoding.UTF8.GetBytes(body));

    private static Task Write(HttpContext http, int status, byte[] bytes)
    {
        http.Response.StatusCode = status;
        http.Response.ContentLength = bytes.Length;
        return HttpMethods.IsHead(http.Request.Method) ? Task.CompletedTask : http.Response.Body.WriteAsync(bytes, http.RequestAborted).AsTask();
    }
}
