using System.Collections;
using System.ComponentModel;

using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar;

/// <summary>How this process was started, so that the same, from an executable that may be another by then, can take its place. Made by Program.</summary>
/// <param name="Path">The executable's, as it was at the start: the link in /proc follows a file that a package has replaced.</param>
/// <param name="Arguments">With argv[0].</param>
/// <param name="VerbAt">Which of them is the verb.</param>
/// <param name="Version">Of this build.</param>
/// <param name="Owner">The main thread.</param>
internal sealed record AgentProgram(string Path, IReadOnlyList<string> Arguments, int VerbAt, string Version, OwnerThread Owner)
{
    /// <summary>The verb by which a new executable is asked what it would do.</summary>
    public const string CheckVerb = "replacement-check";

    /// <summary>Of the running process; null where that cannot be found out.</summary>
    /// <param name="own">The arguments Main was given.</param>
    /// <param name="version">Of this build.</param>
    /// <param name="owner">The main thread.</param>
    public static AgentProgram? Of(IReadOnlyCollection<string> own, string version, OwnerThread owner)
    {
        string[] all = ProgramImage.OwnArguments();
        return Environment.ProcessPath is { } path && own.Count > 0 && all.Length > own.Count && all[^own.Count..].SequenceEqual(own)
            ? new AgentProgram(path, all, all.Length - own.Count, version, owner)
            : null;
    }

    /// <summary>Arguments for the question to a new executable.</summary>
    public string[] CheckArguments() => [.. Arguments.Skip(1).Take(VerbAt - 1), CheckVerb, .. Arguments.Skip(VerbAt + 1)];

    /// <summary>Puts the executable in this one's place. Returns the reason, and only where the kernel refuses.</summary>
    /// <param name="estate">What is left to it.</param>
    /// <param name="isStopRequested">Asked last: the new one is then told to stop.</param>
    public async Task<string> ReplaceAsync(AgentEstate estate, Func<bool> isStopRequested)
    {
        try
        {
            using SafeFileHandle memory = estate.Write();
            Dictionary<string, string> environment = Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().ToDictionary(e => (string)e.Key, e => (string?)e.Value ?? "", StringComparer.Ordinal);
            environment[ChildEnvironment.Inheritance] = AgentEstate.Variable(memory);
            int[] open = [.. estate.Descriptors(), (int)memory.DangerousGetHandle()];
            return new Win32Exception(await Owner.RunAsync(() => ProgramImage.Replace(Path, Arguments, environment, open, isStopRequested))).Message;
        }
        catch (Win32Exception e) { return e.Message; }
    }
}
