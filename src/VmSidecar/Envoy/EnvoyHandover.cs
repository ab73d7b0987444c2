using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>
/// Envoy's hot restart, seen from outside: 1 notice that what Envoy was started from has changed, 2 let the new one check its bootstrap,
/// 3 wait until it serves in the old one's place. The Envoys hand the listeners over among themselves (Envoy's --restart-epoch);
/// the old one drains and ends by itself. Owned by EnvoySupervisor.
/// </summary>
internal sealed class EnvoyHandover(EnvoyOptions options, EnvoyParts parts, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(5);            // two equal looks in a row: a copy that is still being written is not taken
    private static readonly TimeSpan LivePeriod = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);          // a new Envoy waits for its first configuration; the old one serves meanwhile
    private static readonly TimeSpan AdminTimeout = TimeSpan.FromSeconds(2);
    private EnvoyInputs? _refused;                                                // said once, not tried again

    /// <summary>Stages 1 and 2: the command of the next epoch, once there is reason for one.</summary>
    /// <param name="epoch">Number of the next epoch.</param>
    /// <param name="running">What the running Envoy was made from.</param>
    /// <param name="stop">Ends the watch.</param>
    public async Task<EnvoyCommand> NextAsync(int epoch, EnvoyInputs running, CancellationToken stop)
    {
        EnvoyInputs last = running;
        while (true)
        {
            await Task.Delay(Period, time, stop);
            EnvoyInputs now = await parts.Renderer.InputsAsync(stop);
            bool settled = now == last;
            last = now;
            if (now == running) { _refused = null; }
            if (!settled || now == running || now == _refused || now.Executable.Length == 0) { continue; }
            if (await PrepareAsync(epoch, now.Difference(running), stop) is { } command) { return command; }
            _refused = now;
        }
    }

    /// <summary>One that was started and did not take over is not tried again before something else changes.</summary>
    public void Refuse(EnvoyInputs inputs) => _refused = inputs;

    /// <summary>Stage 3. False: it ended, or does not serve in time.</summary>
    public async Task<bool> TakesOverAsync(EnvoyProcess successor, int epoch, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        while (time.GetElapsedTime(begin) < Patience)
        {
            if (await Task.WhenAny(successor.Exited, Task.Delay(LivePeriod, time, stop)) == successor.Exited) { return false; }
            stop.ThrowIfCancellationRequested();
            AdminReply reply = await parts.Admin.GetAsync("/server_info", AdminTimeout, stop);
            if (reply.Problem is null && IsLive(reply.Body!, epoch)) { return true; }
        }
        return false;
    }

    /// <summary>True for the /server_info of a live Envoy of this epoch.</summary>
    public static bool IsLive(string serverInfo, int epoch)
    {
        try
        {
            JsonNode? info = JsonNode.Parse(serverInfo);
            return info?["state"]?.ToString() == "LIVE"
                && info["command_line_options"]?["restart_epoch"]?.ToString() == epoch.ToString(CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) { return false; }
    }

    private async Task<EnvoyCommand?> PrepareAsync(int epoch, string why, CancellationToken stop)
    {
        if (!options.HotRestart)
        {
            EnvoyLog.TakesRestart(log, why);
            return null;
        }
        (EnvoyCommand? command, string? problem) = await parts.Renderer.RenderAsync(stop, epoch);
        problem ??= await parts.Renderer.ValidateAsync(command!, stop);
        if (problem is null)
        {
            EnvoyLog.HandingOver(log, why, epoch);
            return command;
        }
        EnvoyLog.NotHandedOver(log, why, problem);
        return null;
    }
}
