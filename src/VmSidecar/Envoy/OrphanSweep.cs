using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>
/// Before a start: whoever listens on Envoy's admin port. An Envoy of an earlier agent (same bootstrap folder on its command line) is
/// ended; anything else is named, because Envoy's own message does not say who is in the way.
/// </summary>
internal static class OrphanSweep
{
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1), Poll = TimeSpan.FromMilliseconds(20);

    /// <summary>True when a stranger holds the port; it has been logged then.</summary>
    public static async Task<bool> RunAsync(EnvoyOptions options, TimeProvider time, ILogger log, CancellationToken stop)
    {
        PortOwner? owner = PortOwner.Find(options.AdminPort);
        if (owner is null) { return false; }
        if (!IsOurs(owner, options.ConfigDirectory))
        {
            EnvoyLog.PortTaken(log, options.AdminPort, owner.ToString());
            return true;
        }
        EnvoyLog.OrphanFound(log, owner.ProcessId);
        await EndAsync(options, owner.ProcessId, time, stop);
        return false;
    }

    /// <summary>Its <c>-c</c> argument names a file of our bootstrap folder.</summary>
    public static bool IsOurs(PortOwner owner, string configDirectory)
    {
        int flag = owner.CommandLine.ToList().IndexOf("-c");
        return flag >= 0 && flag + 1 < owner.CommandLine.Count
            && Path.GetDirectoryName(Path.GetFullPath(owner.CommandLine[flag + 1], "/")) == Path.GetFullPath(configDirectory).TrimEnd('/');
    }

    private static async Task EndAsync(EnvoyOptions options, int process, TimeProvider time, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        StrangerSignals.Send(process, SignalNumber.Term);
        bool killed = false;
        while (PortOwner.Find(options.AdminPort)?.ProcessId == process)
        {
            if (!killed && time.GetElapsedTime(begin) >= Grace)
            {
                StrangerSignals.Send(process, SignalNumber.Kill);
                killed = true;
            }
            if (time.GetElapsedTime(begin) >= Grace * 3) { return; } // not ours to signal; Envoy's own failure will show it
            await Task.Delay(Poll, time, stop);
        }
    }
}
