using System.CommandLine;
using System.Text.Json.Nodes;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Identity;

namespace VmSidecar.Commands.Doctor;

/// <summary><c>doctor [--pre] [--json] [--wait]</c>: an ordered causal chain of checks, from the files to the application. Exit 0 when nothing failed, else 1. Changes nothing.</summary>
internal static class DoctorCommand
{
    private const int Unwell = 1;
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2), AskAgent = TimeSpan.FromSeconds(2);

    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var pre = new Option<bool>("--pre") { Description = "Before the first start: everything that does not need a running agent" };
        var json = new Option<bool>("--json") { Description = "For programs" };
        var wait = new Option<int>("--wait") { Description = "Repeat until all is well, at most this many seconds", Arity = ArgumentArity.ZeroOrOne, DefaultValueFactory = _ => 0 };
        var command = new Command("doctor", "Finds out what keeps this host from working in the mesh, and what to do about it") { root, pre, json, wait };
        command.SetAction(async (parsed, stop) =>
        {
            TimeSpan patience = TimeSpan.FromSeconds(parsed.GetResult(wait) is { Implicit: false } given ? (given.Tokens.Count > 0 ? parsed.GetValue(wait) : 60) : 0);
            return await RunAsync(cli, new HostPaths(parsed.GetValue(root)!), parsed.GetValue(pre), parsed.GetValue(json), patience, stop);
        });
        return command;
    }

    internal static async Task<int> RunAsync(Cli cli, HostPaths paths, bool inAdvance, bool json, TimeSpan patience, CancellationToken stop)
    {
        TimeProvider time = TimeProvider.System;
        long begin = time.GetTimestamp();
        while (true)
        {
            IReadOnlyList<Diagnosis> all = await DoctorChain.RunAsync(DoctorChain.All, await ContextAsync(cli, paths, inAdvance, stop), stop);
            bool well = DoctorReport.IsWell(all);
            if (well || time.GetElapsedTime(begin) >= patience)
            {
                await cli.Out.WriteLineAsync(json ? ConsoleJson.Indented(DoctorReport.Json(all)) : DoctorReport.Text(all));
                return well ? 0 : Unwell;
            }
            await Task.Delay(Pause, time, stop);
        }
    }

    private static async Task<DoctorContext> ContextAsync(Cli cli, HostPaths paths, bool inAdvance, CancellationToken stop)
    {
        ConfigLoad load = ConfigLoad.Read(paths, cli.Environment, CommandLineFlags.Parse([], new SettingOrigin("command line"), []), new HostNetwork());
        return new DoctorContext
        {
            Cli = cli,
            Paths = paths,
            Load = load,
            Time = TimeProvider.System,
            InAdvance = inAdvance,
            Agent = inAdvance || load.Options is null ? null : await AgentAsync(load.Options.Status.Port, stop),
            Host = load.Options is { } options ? new HostChecks(options, TimeProvider.System).Run() : [],
            Istiod = load.Options is { } known ? new IstiodAccess(known.Identity, known.Xds, TimeProvider.System, NullLoggerFactory.Instance) : null,
        };
    }

    private static async Task<JsonObject?> AgentAsync(int port, CancellationToken stop)
    {
        using HttpMessageInvoker http = LocalHttp.Create();
        using var message = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/debug/statusz");
        (int status, string body, _) = await LocalHttp.SendAsync(http, message, AskAgent, TimeProvider.System, stop);
        return status == 200 ? JsonText.Parse(body) as JsonObject : null;
    }
}
