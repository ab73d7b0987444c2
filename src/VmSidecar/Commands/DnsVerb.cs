using System.CommandLine;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;

namespace VmSidecar.Commands;

/// <summary>Puts <see cref="DnsCommand"/> on the command line: <c>dns NAME [TYPE]</c>. The settings are those the daemon reads; mistakes elsewhere in them are told and end it with 78.</summary>
internal static class DnsVerb
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5); // the agent gives each server two

    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var name = new Argument<string>("NAME") { Description = "The name, as an application would ask for it" };
        var type = new Argument<string>("TYPE") { Description = "Record type", DefaultValueFactory = _ => "A" };
        var command = new Command("dns", "The answer this host gets for a name, and why") { name, type, root };
        command.SetAction((parsed, stop) => RunAsync(cli, new HostPaths(parsed.GetValue(root)!), parsed.GetValue(name)!, parsed.GetValue(type)!, stop));
        return command;
    }

    private static async Task<int> RunAsync(Cli cli, HostPaths paths, string name, string type, CancellationToken stop)
    {
        ConfigLoad load = ConfigLoad.Read(paths, cli.Environment, CommandLineFlags.None, new HostNetwork());
        if (load.Options is { } options)
        {
            using HttpMessageInvoker http = LocalHttp.Create();
            return await new DnsCommand(options.Dns, (host, record, cancel) => ReportAsync(http, options.Status.Port, host, record, cancel), TimeProvider.System, cli.Out).RunAsync(name, type, stop);
        }
        foreach (ConfigError mistake in load.Mistakes) { await cli.Error.WriteLineAsync($"error: {mistake}"); }
        return (int)ExitCode.Configuration;
    }

    /// <summary>What the agent's status port tells; null when nobody there does.</summary>
    private static async Task<JsonObject?> ReportAsync(HttpMessageInvoker http, int port, string name, string type, CancellationToken stop)
    {
        using var message = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/debug/dnsz?name={Uri.EscapeDataString(name)}&type={Uri.EscapeDataString(type)}");
        (int status, string body, string? problem) = await LocalHttp.SendAsync(http, message, s_patience, TimeProvider.System, stop);
        return problem is null && status == 200 ? JsonText.Parse(body) as JsonObject : null; // no JSON: something else listens there
    }
}
