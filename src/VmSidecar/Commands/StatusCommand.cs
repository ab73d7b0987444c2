using System.CommandLine;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Commands;

/// <summary><c>status [--json] [--watch]</c>: how the running agent is, from its own status port. Exit 0 ready, 1 not ready, 3 not running (as systemctl counts).</summary>
internal static class StatusCommand
{
    private const int NotReady = 1, NotRunning = 3;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(5), Period = TimeSpan.FromSeconds(2);

    public static Command Create(Cli cli)
    {
        var json = new Option<bool>("--json") { Description = "The whole state as JSON" };
        var watch = new Option<bool>("--watch", "-w") { Description = "Repeat every two seconds" };
        Option<int?> port = Cli.StatusPortOption();
        Option<string> root = cli.RootOption();
        var command = new Command("status", "Shows how the running agent is") { root, json, watch, port };
        command.SetAction((parsed, stop) => RunAsync(cli, parsed.GetValue(port) ?? AgentPorts.Of(cli, parsed.GetValue(root)!).Status, parsed.GetValue(json), parsed.GetValue(watch), stop));
        return command;
    }

    internal static async Task<int> RunAsync(Cli cli, int port, bool json, bool watch, CancellationToken stop)
    {
        if (port == 0)
        {
            await cli.Error.WriteLineAsync("the status port is off (statusPort: 0); see 'systemctl status istio' and /var/log/istio/istio.log");
            return NotRunning;
        }
        using HttpMessageInvoker http = LocalHttp.Create();
        try
        {
            while (true)
            {
                int code = await ShowAsync(cli, http, port, json, stop);
                if (!watch) { return code; }
                await cli.Out.WriteLineAsync();
                await Task.Delay(Period, TimeProvider.System, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return 0;
        }
    }

    private static async Task<int> ShowAsync(Cli cli, HttpMessageInvoker http, int port, bool json, CancellationToken stop)
    {
        (int _, string body, string? problem) = await GetAsync(http, port, "/debug/statusz", stop);
        if (problem is not null)
        {
            await cli.Error.WriteLineAsync($"the agent does not answer: {problem}. Is it running? See 'systemctl status istio' and /var/log/istio/istio.log");
            return NotRunning;
        }
        (int ready, string reason, _) = await GetAsync(http, port, "/healthz/ready?verbose", stop);
        if (JsonText.Parse(body) is not JsonObject state)
        {
            await cli.Error.WriteLineAsync($"what listens on port {port} is not this agent");
            return NotRunning;
        }
        state["ready"] = ready == 200;
        state["reason"] = ready == 200 ? null : reason.Trim();
        await cli.Out.WriteLineAsync(json ? ConsoleJson.Indented(state) : StatusText.Render(state, TimeProvider.System.GetUtcNow()));
        return ready == 200 ? 0 : NotReady;
    }

    private static async Task<(int Status, string Body, string? Problem)> GetAsync(HttpMessageInvoker http, int port, string path, CancellationToken stop)
    {
        using var message = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}{path}");
        return await LocalHttp.SendAsync(http, message, Timeout, TimeProvider.System, stop);
    }
}
