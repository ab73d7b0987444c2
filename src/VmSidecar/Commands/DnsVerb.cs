using System.CommandLine;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;

namespace VmSidecar.Commands;

/// <summary>Puts <see cref="DnsCommand"/> on the command line: <c>dns NAME [TYPE]</c>. The settings are those the daemon reads; mistakes elsewhere in them are told and end it with 78.</summary>
internal static class DnsVerb
{
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
        if (load.Options is { } options) { return await new DnsCommand(options.Dns, TimeProvider.System, cli.Out).RunAsync(name, type, stop); }
        foreach (ConfigError mistake in load.Mistakes) { await cli.Error.WriteLineAsync($"error: {mistake}"); }
        return (int)ExitCode.Configuration;
    }
}
