using System.CommandLine;
using System.Globalization;

using VmSidecar.Lifecycle;
using VmSidecar.Logging;

namespace VmSidecar.Commands;

/// <summary><c>wait</c>: blocks until the sidecar is ready, or says what is missing when the time is over.</summary>
internal static class WaitCommand
{
    private const string DefaultUrl = "http://localhost:15021/healthz/ready";

    public static Command Create(Cli cli)
    {
        var timeout = new Option<int>("--timeoutSeconds") { Description = "How long to wait in all", DefaultValueFactory = _ => 60 };
        var request = new Option<int>("--requestTimeoutMillis") { Description = "How long one attempt may take", DefaultValueFactory = _ => 500 };
        var period = new Option<int>("--periodMillis") { Description = "Pause between attempts", DefaultValueFactory = _ => 500 };
        var url = new Option<string>("--url") { Description = "What must answer 200", DefaultValueFactory = _ => DefaultUrl };
        Option<string> root = cli.RootOption();
        var command = new Command("wait", "Waits until Envoy is ready") { root, timeout, request, period, url };
        command.SetAction((parsed, stop) => RunAsync(
            cli,
            new Patience(TimeSpan.FromSeconds(parsed.GetValue(timeout)), TimeSpan.FromMilliseconds(parsed.GetValue(request)), TimeSpan.FromMilliseconds(parsed.GetValue(period))),
            new Target(parsed.GetValue(url)!, AgentPorts.Of(cli, parsed.GetValue(root)!).Status), TimeProvider.System, stop));
        return command;
    }

    /// <summary>How long to wait: in all, for one attempt, between attempts.</summary>
    internal sealed record Patience(TimeSpan Total, TimeSpan Attempt, TimeSpan Period);

    /// <summary>What must answer 200, and the agent's status port, which is asked for the reason when it does not.</summary>
    internal sealed record Target(string Url, int StatusPort);

    internal static async Task<int> RunAsync(Cli cli, Patience patience, Target target, TimeProvider time, CancellationToken stop)
    {
        if (!Uri.TryCreate(target.Url, UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("http" or "https"))
        {
            await cli.Error.WriteLineAsync($"Error: '{target.Url}' is not a URL. Use the form {DefaultUrl}");
            return (int)ExitCode.CommandFailed;
        }
        using HttpMessageInvoker http = LocalHttp.Create();
        long begin = time.GetTimestamp();
        string last;
        do
        {
            using var message = new HttpRequestMessage(HttpMethod.Get, uri);
            (int status, _, string? problem) = await LocalHttp.SendAsync(http, message, patience.Attempt, time, stop);
            if (status == 200)
            {
                await cli.Out.WriteLineAsync($"{PilotLine.Time(time.GetUtcNow())}\tinfo\tEnvoy is ready!");
                return 0;
            }
            last = problem ?? string.Create(CultureInfo.InvariantCulture, $"HTTP status code {status}");
            await Task.Delay(patience.Period, time, stop);
        }
        while (time.GetElapsedTime(begin) < patience.Total);
        await cli.Error.WriteLineAsync($"Error: timeout waiting for Envoy proxy to become ready. Last error: {last}{await ReasonAsync(http, target.StatusPort, time, stop)}");
        return (int)ExitCode.CommandFailed;
    }

    /// <summary>What the agent itself says, when it answers.</summary>
    private static async Task<string> ReasonAsync(HttpMessageInvoker http, int port, TimeProvider time, CancellationToken stop)
    {
        using var message = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/healthz/ready?verbose");
        (int status, string body, _) = await LocalHttp.SendAsync(http, message, TimeSpan.FromSeconds(1), time, stop);
        return status == 503 && body.Length > 0 ? $" ({body.Trim()})" : "";
    }
}
