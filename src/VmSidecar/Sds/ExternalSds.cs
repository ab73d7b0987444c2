using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Sockets;
using VmSidecar.Logging;

namespace VmSidecar.Sds;

/// <summary>
/// Finds out, at start and before sockets are made, whether somebody else (SPIRE, for one) serves workload secrets on the well-known socket. Then
/// Envoy takes the workload's certificate from there and this agent serves files only. A socket left by a process that is gone does not count;
/// another agent that is still stopping is waited for, not taken for an issuer; where the settings name an external socket it is waited for.
/// </summary>
internal sealed partial class ExternalSds(SidecarOptions options, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10); // the agent's start waits; after it systemd tries again
    private static readonly TimeSpan Between = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(5);     // of one question; a second may be little on a busy host

    /// <summary>Names the program of a process, for the recognition of another agent; a test has its own.</summary>
    public Func<int, string> ProgramOf { get; init; } = ReadProgram;

    /// <summary>What the agent before this one in the process has left: its socket is no issuer's.</summary>
    public ListeningSockets Sockets { get; init; } = new();

    /// <summary>The options for this start. Throws <see cref="FatalException"/> when the socket is taken, or missing where it is demanded.</summary>
    public async Task<SidecarOptions> ApplyAsync(CancellationToken stop)
    {
        SidecarOptions found = options;
        SocketAnswer credential = await SocketProbe.AskAsync(options.Paths.CredentialSdsSocket, Limit, stop);
        if (credential.Health == SocketHealth.Healthy) { found = found.WithCredentialSds(); }
        if (Sockets.IsInherited(GrpcServer.SocketName(options.Sds.Sockets[0])) || !await FindAsync(options.Sds.Sockets[0], stop)) { return found; }
        Found(log, options.Sds.Sockets[0]);
        return found.WithExternalSds();
    }

    private async Task<bool> FindAsync(string socket, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        for (bool told = false; ; told = true)
        {
            SocketAnswer answer = await SocketProbe.AskAsync(socket, Limit, stop);
            if (Judge(socket, answer, out string fix) is not { } problem) { return answer.Health == SocketHealth.Healthy; }
            if (time.GetElapsedTime(begin) >= Patience) { throw new FatalException("sds", problem, fix); }
            if (!told) { Waiting(log, problem, GoDuration.Format(Patience)); }
            await Task.Delay(Between, time, stop);
        }
    }

    /// <summary>Null when the answer decides; else why it is asked again.</summary>
    private string? Judge(string socket, SocketAnswer answer, out string fix)
    {
        fix = "Find who listens with 'ss -xlp' and stop it, or give it HTTP/2";
        switch (answer.Health)
        {
            case SocketHealth.Healthy when answer.ProcessId > 0 && IsAgent(ProgramOf(answer.ProcessId)):
                fix = $"Stop it: systemctl stop istio, or kill {answer.ProcessId}";
                return $"another agent (process {answer.ProcessId}) serves {socket}";
            case SocketHealth.Silent:
                return $"{socket}: {answer.Problem}";
            case SocketHealth.Absent or SocketHealth.Dead when options.Sds.DemandsExternal:
                fix = "Start what serves it before this agent (After= in the unit), or remove WORKLOAD_IDENTITY_SOCKET_FILE";
                return $"agent configured for non-default SDS socket path: {socket} but no socket found";
            default:
                return null;
        }
    }

    private static bool IsAgent(string program) => program is "vmsidecar" or "pilot-agent";

    private static string ReadProgram(int process)
    {
        if (process == Environment.ProcessId) { return ""; }
        try { return File.ReadAllText($"/proc/{process}/comm").Trim(); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return ""; }
    }

    [LoggerMessage(1, LogLevel.Information, "Existing workload SDS socket found at {Socket}. Default Istio SDS Server will only serve files")]
    private static partial void Found(ILogger log, string socket);

    [LoggerMessage(2, LogLevel.Warning, "{Problem}; waiting up to {Patience}")]
    private static partial void Waiting(ILogger log, string problem, string patience);
}
