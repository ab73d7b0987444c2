using System.Collections;

namespace VmSidecar.Linux.Processes;

/// <summary>The environment a child inherits: the agent's own without what is meant for the agent alone.</summary>
internal static class ChildEnvironment
{
    /// <summary>What a program that replaces the agent in place finds: the version of the hand-over and a descriptor.</summary>
    public const string Inheritance = "VMSIDECAR_INHERITANCE";

    // systemd's talk with its main process: a child that answers the watchdog or claims READY would lie for us
    private static readonly string[] OwnOnly =
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID", "INVOCATION_ID", "JOURNAL_STREAM", Inheritance];

    /// <summary>A new map: inherited, cleaned, then <paramref name="extra"/> on top.</summary>
    public static Dictionary<string, string> With(IEnumerable<KeyValuePair<string, string>> extra)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (DictionaryEntry entry in Environment.GetEnvironmentVariables())
        {
            variables[(string)entry.Key] = (string?)entry.Value ?? "";
        }
        foreach (string name in OwnOnly) { variables.Remove(name); }
        foreach ((string name, string value) in extra) { variables[name] = value; }
        return variables;
    }
}
