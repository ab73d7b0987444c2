using System.CommandLine;
using System.Formats.Tar;
using System.IO.Compression;

using VmSidecar.Commands.Doctor;
using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary>
/// <c>bugreport</c>: one archive of what somebody who was not there needs to see. Lists first what will be in it, and asks; every file goes through
/// <see cref="SecretRemover"/>; key and token files are never opened. An item that cannot be had is named in the list of the archive instead of ending it.
/// </summary>
internal static class BugReport
{
    private const UnixFileMode OwnOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan PerItem = TimeSpan.FromSeconds(30);

    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var file = new Option<string?>("--output", "-o") { Description = "The archive to write (default: vmsidecar-bugreport-HOST-TIME.tar.gz here)" };
        var list = new Option<bool>("--list") { Description = "Only say what it would contain" };
        var yes = new Option<bool>("--yes", "-y") { Description = "Do not ask" };
        var command = new Command("bugreport", "One archive for whoever helps, with secrets removed; lists what it will contain first") { root, file, list, yes };
        command.SetAction(async (parsed, stop) =>
        {
            using HttpMessageInvoker http = LocalHttp.Create();
            IReadOnlyList<ReportItem> items = Items(cli, new HostPaths(parsed.GetValue(root)!), http, new CommandRunner(PerItem, TimeProvider.System));
            string name = $"vmsidecar-bugreport-{System.Net.Dns.GetHostName()}-{TimeProvider.System.GetUtcNow():yyyyMMdd-HHmmss}";
            return await RunAsync(cli, items, parsed.GetValue(file) ?? $"{name}.tar.gz", name, parsed.GetValue(list), parsed.GetValue(yes), stop);
        });
        return command;
    }

    /// <summary>Everything worth having, in the order of the list.</summary>
    internal static IReadOnlyList<ReportItem> Items(Cli cli, HostPaths paths, HttpMessageInvoker http, ICommandRunner run)
    {
        ConfigLoad load = ConfigLoad.Read(paths, cli.Environment, CommandLineFlags.None, new HostNetwork());
        (int status, int admin) = AgentPorts.Of(load);
        string[] folders = [paths.Certificates, paths.ProxyDirectory, paths.State, paths.LogDirectory, Path.GetDirectoryName(paths.Token)!, Path.GetDirectoryName(paths.ClusterEnv)!];
        return
        [
            ReportItem.OfText("version.txt", "vmsidecar version", (text, _) => text.WriteLineAsync($"{BuildVersion.Number} {BuildVersion.Commit}\n{BuildVersion.Runtime}")),
            ReportItem.OfText("check.txt", "vmsidecar check", (text, _) => CheckCommand.RunAsync(paths, cli.Environment, [], new HostNetwork(), TimeProvider.System, text)),
            ReportItem.OfText("doctor.txt", "vmsidecar doctor", (text, stop) => DoctorCommand.RunAsync(cli with { Out = text }, paths, false, false, TimeSpan.Zero, stop)),
            ReportItem.OfPage("status.json", http, status, "/debug/statusz"),
            ReportItem.OfPage("metrics.txt", http, status, "/stats/prometheus"),
            ReportItem.OfPage("envoy-config.json", http, admin, "/config_dump"),
            ReportItem.OfPage("envoy-clusters.txt", http, admin, "/clusters"),
            ReportItem.OfPage("envoy-listeners.txt", http, admin, "/listeners"),
            ReportItem.OfPage("envoy-certs.json", http, admin, "/certs"),
            ReportItem.OfFile("istio.log", Path.Combine(paths.LogDirectory, "istio.log")),
            ReportItem.OfFile("istio.log.1", Path.Combine(paths.LogDirectory, "istio.log.1")),
            ReportItem.OfFile("istio.err.log", Path.Combine(paths.LogDirectory, "istio.err.log")),
            ReportItem.OfFile("cluster.env", paths.ClusterEnv),
            ReportItem.OfFile("sidecar.env", paths.SidecarEnv),
            ReportItem.OfFile("default-istio", paths.At("etc/default/istio")),
            ReportItem.OfFile("mesh.yaml", paths.Mesh),
            ReportItem.OfFile("root-cert.pem", Path.Combine(paths.Certificates, "root-cert.pem")),
            ReportItem.OfFile("cert-chain.pem", Path.Combine(paths.Certificates, "cert-chain.pem")),
            ReportItem.OfFile("hosts", paths.Hosts),
            ReportItem.OfFile("resolv.conf", paths.ResolvConf),
            ReportItem.OfFile("os-release", paths.At("etc/os-release")),
            new("files.txt", "names, sizes and modes of the agent's files, not their content", _ => Task.FromResult<byte[]?>(ReportItem.Listing(paths, folders))),
            ReportItem.OfCommand("unit.txt", run, "systemctl", "--no-pager", "cat", "istio.service", "istio-capture-watch.service"),
            ReportItem.OfCommand("unit-status.txt", run, "systemctl", "--no-pager", "--full", "status", "istio.service", "istio-capture-watch.service"),
            ReportItem.OfCommand("journal.txt", run, "journalctl", "--no-pager", "-n", "5000", "-u", "istio.service", "-u", "istio-capture-watch.service"),
            ReportItem.OfCommand("iptables.txt", run, "iptables-save"),
            ReportItem.OfCommand("ip6tables.txt", run, "ip6tables-save"),
            ReportItem.OfCommand("nftables.txt", run, "nft", "list", "ruleset"),
            ReportItem.OfCommand("addresses.txt", run, "ip", "address"),
            ReportItem.OfCommand("routes.txt", run, "ip", "route", "show", "table", "all"),
            ReportItem.OfCommand("sockets.txt", run, "ss", "-Hlntup"),
            ReportItem.OfCommand("processes.txt", run, "ps", "-u", "istio-proxy", "-o", "pid,ppid,rss,etime,args"),
            ReportItem.OfCommand("kernel.txt", run, "uname", "-a"),
        ];
    }

    internal static async Task<int> RunAsync(Cli cli, IReadOnlyList<ReportItem> items, string file, string folder, bool listOnly, bool yes, CancellationToken stop)
    {
        await cli.Out.WriteLineAsync($"{(listOnly ? "The report would contain" : "The report will contain")} (private keys, tokens and passwords are removed; the token and key files are not read):");
        foreach (ReportItem item in items) { await cli.Out.WriteLineAsync($"  {item.Name,-22} {item.From}"); }
        if (listOnly) { return 0; }
        await cli.Out.WriteLineAsync("Addresses, host names, service names and log lines stay in it: look it through before you give it away.");
        if (!yes)
        {
            await cli.Out.WriteAsync($"Write it to {file}? [y/N] ");
            if (cli.ReadLine()?.Trim() is not ("y" or "Y" or "yes")) { await cli.Out.WriteLineAsync("nothing was written"); return 0; }
        }
        try
        {
            await using var target = new FileStream(file, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnOnly });
            await using var zipped = new GZipStream(target, CompressionLevel.Optimal);
            await using var tar = new TarWriter(zipped, TarEntryFormat.Pax);
            await WriteAsync(tar, items, folder, stop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            await cli.Error.WriteLineAsync($"bugreport: {e.Message} Name another file with --output");
            return 1;
        }
        await cli.Out.WriteLineAsync($"written: {Path.GetFullPath(file)}");
        return 0;
    }

    private static async Task WriteAsync(TarWriter tar, IReadOnlyList<ReportItem> items, string folder, CancellationToken stop)
    {
        var contents = new List<string>();
        foreach (ReportItem item in items)
        {
            (byte[]? bytes, string note) = await TakeAsync(item, stop);
            contents.Add($"{item.Name,-22} {item.From}: {note}");
            if (bytes is not null) { await AddAsync(tar, $"{folder}/{item.Name}", SecretRemover.Clean(bytes), stop); }
        }
        await AddAsync(tar, $"{folder}/CONTENTS.txt", System.Text.Encoding.UTF8.GetBytes(string.Join('\n', contents) + "\n"), stop);
    }

    private static async Task<(byte[]? Bytes, string Note)> TakeAsync(ReportItem item, CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(PerItem);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        try
        {
            byte[]? bytes = await item.TakeAsync(both.Token);
            return (bytes, bytes is null ? "there is none" : $"{bytes.Length} bytes");
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested) { return (null, $"not within {PerItem.TotalSeconds:0} s"); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return (null, e.Message); }
    }

    private static async Task AddAsync(TarWriter tar, string name, byte[] bytes, CancellationToken stop)
    {
        using var content = new MemoryStream(bytes);
        await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = content, Mode = OwnOnly }, stop);
    }
}
