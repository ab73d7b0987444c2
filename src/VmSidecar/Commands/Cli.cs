using System.CommandLine;
using System.Globalization;

using VmSidecar.Linux;

namespace VmSidecar.Commands;

/// <summary>What every verb works with: the two output streams, the inherited environment, and the name the program was called by. Made by Program, the only place that touches the console.</summary>
/// <param name="Out">Standard output.</param>
/// <param name="Error">Standard error.</param>
/// <param name="Environment">The inherited environment.</param>
/// <param name="CalledAs"><c>vmsidecar</c>, or <c>pilot-agent</c> when called by the link.</param>
internal sealed record Cli(TextWriter Out, TextWriter Error, IReadOnlyDictionary<string, string> Environment, string CalledAs)
{
    /// <summary>The setting that relocates every classic path.</summary>
    public const string RootVariable = "VMSIDECAR_ROOT";

    /// <summary>The next line of standard input; null at its end.</summary>
    public Func<string?> ReadLine { get; init; } = () => null;

    /// <summary>Of the daemon, from its first moment on; null for the other verbs, and in tests.</summary>
    public Signals? Signals { get; init; }

    /// <summary>How the daemon was started; null where it cannot be replaced in place.</summary>
    public AgentProgram? Program { get; init; }

    /// <summary>What the daemon before this one in the process has left.</summary>
    public AgentEstate? Estate { get; init; }

    /// <summary>Why what it has left cannot be read, as a clause; null: it can, or there was none.</summary>
    public string? EstateProblem { get; init; }

    /// <summary><c>--port PORT</c>: the status port of the agent that is asked; 0: it is off.</summary>
    public static Option<int?> StatusPortOption()
    {
        var port = new Option<int?>("--port") { Description = "The status port (default: the configured one, 15020)" };
        port.Validators.Add(given =>
        {
            if (given.Tokens is [{ Value: var text }] && !ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out _)) { given.AddError($"--port {text} is no port: give a whole number from 1 to 65535"); }
        });
        return port;
    }

    /// <summary><c>--root DIR</c>: all classic paths are taken below it.</summary>
    public Option<string> RootOption() => new("--root")
    {
        Description = $"Take all classic paths (/etc/istio, /var/lib/istio, /etc/certs, ...) below this folder (also {RootVariable})",
        DefaultValueFactory = _ => Environment.GetValueOrDefault(RootVariable, "/"),
    };
}
