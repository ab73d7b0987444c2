using System.Text.Json.Nodes;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar;

/// <summary>
/// Replaces this agent in place, for an upgrade or for changed settings, without a request lost: 1 the executable is asked whether it can, with today's settings,
/// 2 the components leave what outlives them (Envoy, sockets), 3 execve(2), by RunCommand. A "no" at 1 changes nothing. Owned by SidecarApp.
/// </summary>
/// <param name="options">What this agent was started with.</param>
/// <param name="program">What to start; null: not known.</param>
/// <param name="count">How often this process has been replaced.</param>
/// <param name="objection">Why it cannot be now; null: it can.</param>
/// <param name="leave">Stage 2.</param>
/// <param name="commands">Runs the question.</param>
/// <param name="log">Where a refusal is told.</param>
internal sealed partial class Replacement(SidecarOptions options, AgentProgram? program, int count, Func<string?> objection, Action leave, ICommandRunner commands, ILogger log)
{
    private int _isUnderWay;
    private int _refusals;
    private string? _refused;
    private bool _isOtherForm;

    /// <summary>For <c>status</c> and <c>reload</c>: how often this process was replaced, how often that was refused since its last start, and why last.</summary>
    public JsonObject State() => new() { ["form"] = AgentEstate.Version, ["count"] = count, ["refusals"] = _refusals, ["refused"] = _refused, ["needsRestart"] = _isOtherForm };

    /// <summary>Stages 1 and 2. Never throws.</summary>
    public async Task TryAsync(CancellationToken stop)
    {
        if (Interlocked.Exchange(ref _isUnderWay, 1) == 1) { return; }
        bool hasLeft = false;
        _isOtherForm = false;
        try
        {
            string? problem = objection() ?? await AskAsync(stop) ?? objection();
            if (problem is null)
            {
                Leaving(log, program!.Path);
                leave();
                hasLeft = true; // and stays under way: what was left is left once
                return;
            }
            Refused(log, problem);
            _refused = problem;
            Interlocked.Increment(ref _refusals);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { } // stopping instead
        finally { _isUnderWay = hasLeft ? 1 : 0; }
    }

    /// <summary>Null: the executable can take over.</summary>
    private async Task<string?> AskAsync(CancellationToken stop)
    {
        if (program is null) { return "how this agent was started cannot be read from /proc"; }
        CommandResult answer = await commands.RunAsync(program.Path, program.CheckArguments(), "", stop);
        if (ReplacementOffer.Parse(answer.Output) is not { } offer)
        {
            string said = answer.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).FirstOrDefault() ?? $"it ended with {answer.ExitCode}";
            return $"{program.Path} cannot run here: {said}";
        }
        _isOtherForm = offer.Form != AgentEstate.Version;
        if (_isOtherForm) { return $"version {offer.Version} does not take over from this one: it reads form {offer.Form} of what is handed over, this is form {AgentEstate.Version}"; }
        string[] changed = [.. ReplacementOffer.UsesOf(options).Zip(offer.Uses).Where(p => p.First != p.Second).Select(p => $"{p.First} would become {p.Second}")];
        _isOtherForm = changed.Length > 0;
        return changed.Length == 0 ? null : $"settings have changed that the running Envoy or clients rely on: {string.Join("; ", changed)}";
    }

    [LoggerMessage(1, LogLevel.Information, "{Path} takes this agent's place; Envoy and all sockets go on")]
    private static partial void Leaving(ILogger log, string path);

    [LoggerMessage(2, LogLevel.Error, "not replaced, this agent goes on: {Problem}. 'systemctl restart istio' does it with a gap of a second")]
    private static partial void Refused(ILogger log, string problem);
}
