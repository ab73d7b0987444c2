using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

using VmSidecar.Configuration;
using VmSidecar.Linux.Files;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>Says whether istiod speaks delta, waiting at most the given time for it to settle. Answered by the relay.</summary>
internal delegate Task<bool> DeltaQuestion(TimeSpan atMost, CancellationToken stop);

/// <summary>Prepares one start of Envoy: 1 find the executable, 2 ask its version, 3 settle SotW or delta, 4 write the bootstrap, 5 the arguments. Owned by EnvoySupervisor's caller.</summary>
internal sealed class EnvoyRenderer(EnvoyOptions options, DeltaQuestion delta, ICommandRunner commands) : IEnvoyRenderer
{
    private const UnixFileMode BootstrapMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode FolderMode = BootstrapMode | UnixFileMode.UserExecute;
    private static readonly TimeSpan ResolvePatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ModePatience = TimeSpan.FromSeconds(1); // Envoy's start must not wait for istiod
    private (string Binary, DateTime Written, EnvoyVersion Version)? _known;
    private string _settings = ""; // hash of what was rendered last
    private bool _hasRendered; // a restart after a crash takes the mode as it is known: each tenth of a second is outage

    private string? Found => options.Binary is { } chosen && Executable.Is(chosen) ? chosen : options.SearchedFor.FirstOrDefault(Executable.Is);

    public async Task<EnvoyInputs> InputsAsync(CancellationToken stop) =>
        Inputs(Found, options.CustomConfigFile is null && await delta(TimeSpan.Zero, stop));

    public async Task<string?> ValidateAsync(EnvoyCommand command, CancellationToken stop)
    {
        CommandResult answer = await commands.RunAsync(command.Binary, [.. command.Arguments, "--mode", "validate"], "", stop);
        if (answer.Succeeded) { return null; }
        string[] lines = answer.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return $"it does not accept its bootstrap: {lines.LastOrDefault(l => l.Contains("error", StringComparison.OrdinalIgnoreCase)) ?? answer.FirstErrorLine}";
    }

    public async Task<(EnvoyCommand? Command, string? Problem)> RenderAsync(CancellationToken stop, int epoch = 0)
    {
        string? binary = Found;                                                                                                                      // 1
        if (binary is null)
        {
            return (null, $"no Envoy executable (looked for {string.Join(", ", options.SearchedFor)}). Install Istio's Envoy at /usr/local/bin/envoy, or your distribution's envoy package, or set binaryPath in the mesh config");
        }
        EnvoyVersion version = await VersionAsync(binary, stop);                                                                                    // 2
        bool speaksDelta = options.CustomConfigFile is null && await delta(_hasRendered ? TimeSpan.Zero : ModePatience, stop);                      // 3
        string path;
        try
        {
            path = options.CustomConfigFile ?? await WriteAsync(new EnvoyTarget(version, speaksDelta, await StatsdAsync(stop)), stop);                // 4
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (null, $"cannot write the bootstrap into {options.ConfigDirectory}: {e.Message} Make the folder writable for this user (chown istio-proxy)");
        }
        _hasRendered = true;
        IReadOnlyList<string> arguments = EnvoyArguments.For(options, version, path, epoch);                                                        // 5
        _settings = Hash(EnvoyArguments.For(options, version, path, epoch: 0), options.CustomConfigFile is null ? path : null);
        return (new EnvoyCommand(binary, arguments, [.. options.ExtraEnvironment, Utc]) { Version = version == EnvoyVersion.Unknown ? null : version.ToString(), Inputs = Inputs(binary, speaksDelta) }, null);
    }

    private EnvoyInputs Inputs(string? binary, bool speaksDelta) => new(EnvoyInputs.Mark(binary), EnvoyInputs.Mark(options.CustomConfigFile), speaksDelta) { Settings = _settings };

    private static string Hash(IReadOnlyList<string> arguments, string? bootstrap)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string argument in arguments) { hash.AppendData(System.Text.Encoding.UTF8.GetBytes(argument + "\0")); }
        if (bootstrap is not null) { hash.AppendData(File.ReadAllBytes(bootstrap)); }
        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private async Task<string> WriteAsync(EnvoyTarget target, CancellationToken stop)
    {
        if (!Directory.Exists(options.ConfigDirectory)) { Directory.CreateDirectory(options.ConfigDirectory, FolderMode); }
        string path = Path.Combine(options.ConfigDirectory, "envoy-rev.json");
        await AtomicFile.WriteAsync(path, EnvoyBootstrap.ToBytes(EnvoyBootstrap.Render(options, target)), BootstrapMode, stop);
        return path;
    }

    /// <summary>Envoy prints local time with a literal Z; in UTC its lines sort among ours.</summary>
    private static KeyValuePair<string, string> Utc => new("TZ", "UTC");

    /// <summary>statsdUdpAddress as an address: Envoy's sink takes no names. A name that does not resolve in time costs the sink, not the start.</summary>
    private async Task<IPEndPoint?> StatsdAsync(CancellationToken stop)
    {
        string address = options.ProxyConfig["statsdUdpAddress"]?.ToString() ?? "";
        int colon = address.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port)) { return null; }
        string host = address[..colon].Trim('[', ']');
        if (IPAddress.TryParse(host, out IPAddress? literal)) { return new IPEndPoint(literal, port); }
        try
        {
            IPAddress[] found = await System.Net.Dns.GetHostAddressesAsync(host, stop).WaitAsync(ResolvePatience, stop);
            return found.Length == 0 ? null : new IPEndPoint(found[0], port);
        }
        catch (Exception e) when (e is SocketException or TimeoutException or ArgumentException) // the last: no name can be that long
        {
            return null;
        }
    }

    /// <summary>Asked once per executable file; an Envoy that does not answer is taken for the oldest maintained one.</summary>
    private async Task<EnvoyVersion> VersionAsync(string binary, CancellationToken stop)
    {
        DateTime written = File.GetLastWriteTimeUtc(binary);
        if (_known is { } known && known.Binary == binary && known.Written == written) { return known.Version; }
        CommandResult answer = await commands.RunAsync(binary, ["--version"], "", stop);
        if (!EnvoyVersion.TryParse(answer.Output, out EnvoyVersion read)) { return EnvoyVersion.Unknown; } // asked again at the next start
        _known = (binary, written, read);
        return read;
    }
}
