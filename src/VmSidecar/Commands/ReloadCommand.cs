using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary>
/// <c>reload</c>: the running agent is replaced in place by what is installed now, with today's settings; Envoy and all sockets go on. For upgrades and for
/// <c>systemctl reload istio</c>. Exit 0 replaced, 1 not replaced (the reason is printed; the agent goes on, or has ended, then that is said), 3 not running, 4 only a restart does it.
/// </summary>
internal sealed class ReloadCommand(TextWriter output, TextWriter error, int port, Func<int, bool> signal, TimeProvider time)
{
    private const int Refused = 1, NotRunning = 3, NeedsRestart = 4;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(100), Answer = TimeSpan.FromSeconds(5), Period = TimeSpan.FromMilliseconds(200);

    /// <summary>How long one that still starts, or is just being replaced, is waited for before it is told.</summary>
    public TimeSpan StartPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>True for the process id of an agent that catches HUP: the id is from an HTTP answer, which anybody may give.</summary>
    public Func<int, bool> IsAgent { get; init; } = pid => RunningAgents.Find().Contains(pid) && RunningAgents.Catches(pid, SignalNumber.Hup);

    /// <summary>The process with an id.</summary>
    public Func<int, PeerProcess> Process { get; init; } = PeerProcess.Of;

    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        Option<int?> port = Cli.StatusPortOption();
        var command = new Command("reload", "Replaces the running agent in place by what is installed and set now; Envoy goes on") { root, port };
        command.SetAction((parsed, stop) => new ReloadCommand(cli.Out, cli.Error, parsed.GetValue(port) ?? AgentPorts.Of(cli, parsed.GetValue(root)!).Status, pid => StrangerSignals.Send(pid, SignalNumber.Hup), TimeProvider.System).RunAsync(stop));
        return command;
    }

    /// <summary>Asks, and waits for the outcome.</summary>
    public async Task<int> RunAsync(CancellationToken stop)
    {
        if (port == 0)
        {
            await error.WriteLineAsync("the status port is off (statusPort: 0): send SIGHUP to the agent and read the outcome in /var/log/istio/istio.log");
            return Refused;
        }
        using HttpMessageInvoker http = LocalHttp.Create();
        if (await StartedAsync(http, stop) is not { } before)
        {
            await error.WriteLineAsync($"the agent does not answer on port {port}. Is it running? See 'systemctl status istio'");
            return NotRunning;
        }
        if (before["replacement"] is not JsonObject ability)
        {
            await error.WriteLineAsync("the running agent is of a version, or in a state, in which it cannot be replaced in place: systemctl restart istio");
            return NeedsRestart;
        }
        if (Number(before["pid"]) is not { } pid)
        {
            await error.WriteLineAsync($"what answers on port {port} names no process id, so it is no agent: it was told nothing");
            return Refused;
        }
        if (!IsAgent(pid))
        {
            await error.WriteLineAsync($"what answers on port {port} names process {pid}, which is no running agent here: it was told nothing");
            return Refused;
        }
        PeerProcess agent = Process(pid);
        if (!signal(pid))
        {
            await error.WriteLineAsync("the agent could not be told; run this as root or istio-proxy");
            return Refused;
        }
        return await OutcomeAsync(http, before, ability, agent, stop);
    }

    /// <summary>The state of an agent that has started; of one that takes too long for that, or of an old one, which says less, as it is. Null: nobody answers.</summary>
    private async Task<JsonObject?> StartedAsync(HttpMessageInvoker http, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        JsonObject? state = await StateAsync(http, stop);
        while (state is not null && state["pid"] is not null && state["replacement"] is null && time.GetElapsedTime(begin) < StartPatience)
        {
            await Task.Delay(Period, time, stop);
            state = await StateAsync(http, stop) ?? state;
        }
        return state;
    }

    private async Task<int> OutcomeAsync(HttpMessageInvoker http, JsonObject before, JsonObject ability, PeerProcess agent, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        while (time.GetElapsedTime(begin) < Patience)
        {
            await Task.Delay(Period, time, stop);
            if (await StateAsync(http, stop) is not { } now || now["replacement"] is not JsonObject state)
            {
                if (Process(agent.Id) == agent) { continue; } // in between: process id and start time stay
                await error.WriteLineAsync("the agent ended instead of being replaced, and is started again by its service manager if it has one; see /var/log/istio/istio.log");
                return Refused;
            }
            if (Number(now["pid"]) != Number(before["pid"]))
            {
                await error.WriteLineAsync("the agent was started anew meanwhile; see /var/log/istio/istio.log");
                return Refused;
            }
            if (Number(state["count"]) > (Number(ability["count"]) ?? 0))
            {
                await output.WriteLineAsync($"replaced in place: {ConsoleText.Line(before["version"]?.ToString() ?? "")} by {ConsoleText.Line(now["version"]?.ToString() ?? "")}; Envoy goes on");
                return 0;
            }
            if (Number(state["refusals"]) > (Number(ability["refusals"]) ?? 0))
            {
                await error.WriteLineAsync($"not replaced, the agent goes on: {ConsoleText.Line(state["refused"]?.ToString() ?? "")}");
                return state["needsRestart"] is JsonValue needs && needs.TryGetValue(out bool isNeeded) && isNeeded ? NeedsRestart : Refused;
            }
        }
        await error.WriteLineAsync($"no outcome within {Patience.TotalSeconds.ToString("0", CultureInfo.InvariantCulture)} s; see /var/log/istio/istio.log");
        return Refused;
    }

    private async Task<JsonObject?> StateAsync(HttpMessageInvoker http, CancellationToken stop)
    {
        using var question = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/debug/statusz");
        (int status, string body, _) = await LocalHttp.SendAsync(http, question, Answer, time, stop);
        return status == 200 ? JsonText.Parse(body) as JsonObject : null;
    }

    /// <summary>Null for what is no whole number: the answer may be of anybody.</summary>
    private static int? Number(JsonNode? value) => value is JsonValue plain && plain.TryGetValue(out int number) ? number : null;
}
