using System.CommandLine;
using System.Text;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Files;

namespace VmSidecar.Commands;

/// <summary>
/// <c>enroll DIR|ARCHIVE</c>: puts istioctl's five files in their places. Stages: read → say what is missing → check all of it in a folder aside, as the agent
/// would read it → put each in place with owner and mode → the hosts entry. Nothing is changed while there is a mistake; doing it twice changes nothing more.
/// </summary>
internal sealed class EnrollCommand(HostPaths paths, IReadOnlyDictionary<string, string> environment, INetworkFacts network, TimeProvider time, TextWriter output)
{
    private const UnixFileMode OwnOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite, All = OwnOnly | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    private const UnixFileMode Folder = All | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private readonly (uint Uid, uint Gid)? _owner = CaptureHost.Read(paths).User("istio-proxy");

    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var source = new Argument<string>("files") { Description = "The folder istioctl wrote (-o DIR), or a tar, tar.gz or zip of it" };
        var keep = new Option<bool>("--keep-token") { Description = "Also keep the token where it survives a reboot, for a machine that first starts later" };
        var command = new Command("enroll", "Puts the files of 'istioctl x workload entry configure' in their places") { source, root, keep };
        command.SetAction(async (parsed, stop) => (int)await new EnrollCommand(new HostPaths(parsed.GetValue(root)!), cli.Environment, new HostNetwork(), TimeProvider.System, cli.Out)
            .RunAsync(parsed.GetValue(source)!, parsed.GetValue(keep), stop));
        return command;
    }

    /// <summary>0 done, 1 not possible (rights, disk), 78 a file is missing or wrong.</summary>
    public async Task<ExitCode> RunAsync(string from, bool keepToken, CancellationToken stop)
    {
        try
        {
            OnboardingSource source = OnboardingSource.Read(from);
            string[] missing = [.. OnboardingSource.Names.Where(n => !source.Files.ContainsKey(n))];
            ConfigError[] mistakes = missing.Length > 0 || source.Problems.Length > 0 ? [] : await CheckAsync(source, stop);
            foreach (string name in missing) { await output.WriteLineAsync($"missing in {from}: {name}"); }
            foreach (string problem in source.Problems) { await output.WriteLineAsync($"in {from}: {problem}"); }
            foreach (ConfigError error in mistakes) { await output.WriteLineAsync($"{(error.IsWarning ? "warning" : "mistake")}: {error}"); }
            if (missing.Length > 0 || source.Problems.Length > 0 || mistakes.Any(m => !m.IsWarning))
            {
                await output.WriteLineAsync("nothing was changed. Make the files with: istioctl x workload entry configure -f workloadgroup.yaml -o DIR");
                return ExitCode.Configuration;
            }
            if (Places(paths, keepToken).Select(p => p.Path).Append(Path.Combine(paths.ProxyDirectory, "x")).Select(Foreign).FirstOrDefault(l => l is not null) is { } link)
            {
                await output.WriteLineAsync($"enroll: {link} is a link to {new FileInfo(link).LinkTarget}, and not root's: whoever made it could send these files, written by root, anywhere. Remove it, or give it to root (chown -h root {link}). Nothing was changed");
                return ExitCode.Fatal;
            }
            await PlaceAsync(source, keepToken, stop);
            return ExitCode.Stopped;
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException or InvalidDataException)
        {
            await output.WriteLineAsync($"enroll: {e.Message}{(e is UnauthorizedAccessException ? " Run as root" : "")}");
            return ExitCode.Fatal;
        }
    }

    /// <summary>Lays the files out aside, with the settings of this host's administrator, and reads them as a start would.</summary>
    private async Task<ConfigError[]> CheckAsync(OnboardingSource source, CancellationToken stop)
    {
        string aside = Directory.CreateTempSubdirectory("vmsidecar-enroll-").FullName;
        try
        {
            var there = new HostPaths(aside);
            foreach ((string path, string name, _) in Places(there, keepToken: false))
            {
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                await AtomicFile.WriteAsync(path, source.Files[name], OwnOnly, stop);
            }
            if (File.Exists(paths.SidecarEnv)) { File.Copy(paths.SidecarEnv, there.SidecarEnv); }
            if (File.Exists(paths.ResolvConf)) { File.Copy(paths.ResolvConf, there.ResolvConf); }
            ConfigLoad load = ConfigLoad.Read(there, environment, CommandLineFlags.None, network);
            IEnumerable<ConfigError> host = HostChecks.Of(load, time).Run();
            IEnumerable<ConfigError> all = [.. load.Errors, .. host.Where(e => e.File.StartsWith(aside, StringComparison.Ordinal))]; // not about Envoy or ports: that is check's
            return [.. all.Select(e => e with { File = Named(e.File, there, aside), Problem = e.Problem.Replace(aside, "", StringComparison.Ordinal), Fix = e.Fix.Replace(aside, "", StringComparison.Ordinal) })];
        }
        finally
        {
            Directory.Delete(aside, recursive: true);
        }
    }

    /// <summary>A mistake is named by istioctl's file, which is what the operator can correct.</summary>
    private static string Named(string file, HostPaths there, string aside) =>
        Places(there, keepToken: false).FirstOrDefault(p => p.Path == file).Name ?? file.Replace(aside, "", StringComparison.Ordinal);

    private async Task PlaceAsync(OnboardingSource source, bool keepToken, CancellationToken stop)
    {
        if (_owner is null) { await output.WriteLineAsync("warning: there is no user istio-proxy yet; install the package, then run enroll again or chown the files"); }
        foreach ((string path, string name, UnixFileMode mode) in Places(paths, keepToken))
        {
            MakeFolder(Path.GetDirectoryName(path)!, mode == OwnOnly);
            await AtomicFile.WriteAsync(path, source.Files[name], mode, stop);
            Give(path);
            await output.WriteLineAsync($"{name} -> {path}");
        }
        MakeFolder(paths.ProxyDirectory, isSecret: false);
        await HostsAsync(Encoding.UTF8.GetString(source.Files[OnboardingSource.Hosts]), stop);
        await output.WriteLineAsync("next: systemctl restart istio (and 'systemctl enable istio' for the next boot); 'vmsidecar doctor' says how it goes");
    }

    private async Task HostsAsync(string wanted, CancellationToken stop)
    {
        if (!HostsFile.Mappings(wanted).Any())
        {
            await output.WriteLineAsync($"hosts is empty (istioctl knew no address of istiod); {paths.Hosts} stays as it is. The name of istiod must then come from DNS");
            return;
        }
        string before = File.Exists(paths.Hosts) ? await File.ReadAllTextAsync(paths.Hosts, stop) : "", after = HostsFile.With(before, wanted);
        string entries = string.Join(", ", HostsFile.Mappings(wanted).Select(m => $"{m.Name} {m.Address}"));
        if (ReferenceEquals(before, after)) { await output.WriteLineAsync($"{paths.Hosts} has {entries} already"); return; }
        UnixFileMode mode = File.Exists(paths.Hosts) ? File.GetUnixFileMode(paths.Hosts) : All;
        try { await AtomicFile.WriteAsync(paths.Hosts, Encoding.UTF8.GetBytes(after), mode, stop); }
        catch (IOException) { await File.WriteAllTextAsync(paths.Hosts, after, stop); } // bound into place (a container): it cannot be renamed over, only written
        await output.WriteLineAsync($"{paths.Hosts}: {entries}");
    }

    private static IEnumerable<(string Path, string Name, UnixFileMode Mode)> Places(HostPaths at, bool keepToken) =>
    [
        (Path.Combine(at.Certificates, "root-cert.pem"), OnboardingSource.RootCert, All),
        (at.Token, OnboardingSource.Token, OwnOnly),
        .. keepToken ? [(at.PersistentToken, OnboardingSource.Token, OwnOnly)] : Array.Empty<(string, string, UnixFileMode)>(),
        (at.ClusterEnv, OnboardingSource.ClusterEnv, All),
        (at.Mesh, OnboardingSource.Mesh, All),
    ];

    /// <summary>A link in the way that root must not follow; as anybody else there is nothing to gain by one.</summary>
    private string? Foreign(string path) => Environment.IsPrivilegedProcess ? FolderLinks.Foreign(path, (paths.At("etc/istio"), "/var/lib/istio")) : null;

    private void MakeFolder(string folder, bool isSecret)
    {
        if (Directory.Exists(folder)) { return; }
        if (Path.GetDirectoryName(folder) is { } parent && !Directory.Exists(parent)) { Directory.CreateDirectory(parent, Folder); }
        Directory.CreateDirectory(folder, isSecret ? OwnOnly | UnixFileMode.UserExecute : Folder);
        Give(folder);
    }

    private void Give(string path)
    {
        if (_owner is var (uid, gid) && Environment.IsPrivilegedProcess) { Ownership.Give(path, uid, gid); }
    }
}
