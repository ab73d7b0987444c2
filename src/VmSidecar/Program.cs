using System.Collections;
using System.CommandLine;

using VmSidecar;
using VmSidecar.Commands;
using VmSidecar.Commands.Doctor;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Linux.Processes;

// The only place that touches the console and the process environment. Verbs live in Commands/.
var environment = Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
    .ToDictionary(e => (string)e.Key, e => (string?)e.Value ?? "", StringComparer.Ordinal);
string calledAs = Path.GetFileName(Environment.GetCommandLineArgs()[0]);
using Signals? signals = args is ["run" or "proxy", ..] ? new Signals() : null; // before anything else of the daemon: by default they would end it
using var owner = new OwnerThread();
string? estateProblem = null;
AgentEstate? estate = signals is null ? null : AgentEstate.Take(environment, out estateProblem);
if (estateProblem is not null) { LeftOpen.Close(); } // unknown sockets: bound to the ports of this agent, and nobody would read them
var cli = new Cli(Console.Out, Console.Error, environment, calledAs)
{
    ReadLine = Console.In.ReadLine,
    Signals = signals,
    Program = signals is null ? null : AgentProgram.Of(args, $"{BuildVersion.Number}-{BuildVersion.Commit}", owner),
    Estate = estate,
    EstateProblem = estateProblem,
};

var root = new RootCommand("Joins this machine to an Istio mesh: certificate, xDS relay, DNS, traffic capture, Envoy")
{
    RunCommand.Create(cli, "run"),
    RunCommand.Create(cli, "proxy"),
    CheckCommand.Create(cli),
    DoctorCommand.Create(cli),
    StatusCommand.Create(cli),
    DnsVerb.Create(cli),
    RequestCommand.Create(cli),
    WaitCommand.Create(cli),
    EnrollCommand.Create(cli),
    BugReport.Create(cli),
    LogCommand.Create(cli),
    ReloadCommand.Create(cli),
    RunCommand.CreateCheck(cli),
    CompletionCommand.Create(cli),
    VersionCommand.Create(cli),
};
foreach (Command verb in CaptureVerbs.Create(cli)) { root.Add(verb); }
ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (string message in parsed.Errors.Select(e => e.Message)) { cli.Error.WriteLine($"{calledAs}: {message}"); }
    cli.Error.WriteLine($"See '{calledAs} --help'");
    return (int)(calledAs == "pilot-agent" ? ExitCode.CommandFailed : ExitCode.Configuration);
}
// Signals are the verbs' own business: `run` drains on SIGTERM.
return owner.Serve(parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null, Output = cli.Out, Error = cli.Error }));
