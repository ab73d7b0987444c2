using System.CommandLine;
using System.Globalization;

using VmSidecar.Lifecycle;

namespace VmSidecar.Commands;

/// <summary><c>request METHOD PATH [BODY]</c>: one request to Envoy's admin port (or another debug port). The body goes to standard output, nothing else; 404 counts as an answer.</summary>
internal static class RequestCommand
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(60);
    private static readonly int[] Ports = [15000, 15004, 15020, 15021];

    public static Command Create(Cli cli)
    {
        var method = new Argument<string>("method") { Description = "GET, POST, ..." };
        var path = new Argument<string>("path") { Description = "for example 'stats?filter=server.state' or 'config_dump'" };
        var body = new Argument<string?>("body") { Description = "request body", DefaultValueFactory = _ => null };
        var port = new Option<int?>("--debug-port") { Description = "15000 (Envoy admin), 15004, 15020 or 15021, or the configured ports (default: Envoy's admin port, 15000)" };
        Option<string> root = cli.RootOption();
        var command = new Command("request", "Makes an HTTP request to Envoy's admin API") { root, method, path, body, port };
        command.SetAction(async (parsed, stop) =>
        {
            AgentPorts ports = AgentPorts.Of(cli, parsed.GetValue(root)!);
            int asked = parsed.GetValue(port) ?? ports.Admin;
            if (Ports.Contains(asked) || asked == ports.Admin || asked == ports.Status)
            {
                return await RunAsync(cli, new Request(parsed.GetValue(method)!, parsed.GetValue(path)!, parsed.GetValue(body), asked), stop);
            }
            await cli.Error.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"Error: --debug-port {asked} is no port of the agent's or Envoy's. Use one of {string.Join(", ", Ports.Append(ports.Admin).Append(ports.Status).Distinct().Order())}"));
            return (int)ExitCode.CommandFailed;
        });
        return command;
    }

    /// <summary>What to ask, and where.</summary>
    internal sealed record Request(string Method, string Path, string? Body, int Port);

    internal static async Task<int> RunAsync(Cli cli, Request request, CancellationToken stop)
    {
        string path = request.Path.StartsWith('/') ? request.Path[1..] : request.Path; // exactly one leading slash is taken off
        using HttpMessageInvoker http = LocalHttp.Create();
        using var message = new HttpRequestMessage(new HttpMethod(request.Method), $"http://127.0.0.1:{request.Port}/{path}");
        if (request.Body is { } body) { message.Content = new StringContent(body); }
        (int status, string text, string? problem) = await LocalHttp.SendAsync(http, message, Timeout, TimeProvider.System, stop);
        if (problem is null && status is <= 399 or 404)
        {
            await cli.Out.WriteLineAsync(text);
            return 0;
        }
        await cli.Error.WriteLineAsync($"Error: {problem ?? $"received unsuccessful status code {status}: {text}"}");
        return (int)ExitCode.CommandFailed;
    }
}
