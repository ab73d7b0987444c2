using System.Text.Json;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Logging;

using Xunit;

namespace VmSidecar.Tests.Logging;

public sealed partial class SidecarLoggingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vms-log-").FullName;

    private string LogFile => Path.Combine(_folder, "log", "istio.log");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Writes_the_classic_line_with_scope_and_labels_after_one_tab()
    {
        using (SidecarLogging log = Open())
        {
            Push(log.Factory.CreateLogger("sds"), "default", TimeSpan.FromMilliseconds(1.5));
            Plain(log.Factory.CreateLogger("default"), "vm1");
        }
        string[] lines = File.ReadAllLines(LogFile);
        Assert.Matches(ClassicTime() + "\tinfo\tsds\tSDS: PUSH\tresource=default latency=1.5ms$", lines[0]);
        Assert.Matches(ClassicTime() + "\twarn\tthe host is vm1$", lines[1]);
    }

    [Fact]
    public void Writes_json_with_labels_as_members()
    {
        using (SidecarLogging log = Open(json: true)) { Push(log.Factory.CreateLogger("sds"), "default", TimeSpan.FromSeconds(2)); }
        using JsonDocument line = JsonDocument.Parse(File.ReadAllText(LogFile));
        Assert.Equal(["level", "time", "scope", "msg", "resource", "latency"], line.RootElement.EnumerateObject().Select(p => p.Name));
        Assert.Equal("SDS: PUSH", line.RootElement.GetProperty("msg").GetString());
        Assert.Equal("2s", line.RootElement.GetProperty("latency").GetString());
    }

    [Fact]
    public void Envoys_lines_pass_unchanged_braces_included()
    {
        const string Line = "2026-01-01T00:00:00.000001Z\twarning\tenvoy config\tgRPC {closed} {Resource}\tthread=1";
        using (SidecarLogging log = Open()) { log.WriteEnvoyLine(System.Text.Encoding.UTF8.GetBytes(Line)); }
        Assert.Equal(Line + "\n", File.ReadAllText(LogFile));
    }

    [Fact]
    public void Appends_to_what_an_earlier_run_wrote()
    {
        using (SidecarLogging log = Open()) { Plain(log.Factory.CreateLogger("default"), "one"); }
        using (SidecarLogging log = Open()) { Plain(log.Factory.CreateLogger("default"), "two"); }
        Assert.Equal(2, File.ReadAllLines(LogFile).Length);
    }

    [Fact]
    public void Reopens_after_logrotate_renamed_the_file()
    {
        using (SidecarLogging log = Open())
        {
            Plain(log.Factory.CreateLogger("default"), "one");
            File.Move(LogFile, LogFile + ".1");
            Assert.Null(log.Reopen());
            Plain(log.Factory.CreateLogger("default"), "two");
        }
        Assert.EndsWith("the host is one", File.ReadAllText(LogFile + ".1").TrimEnd(), StringComparison.Ordinal);
        Assert.EndsWith("the host is two", File.ReadAllText(LogFile).TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_scope_has_its_own_level()
    {
        using (SidecarLogging log = Open(scopes: [new("sds", LogLevel.None)]))
        {
            Push(log.Factory.CreateLogger("sds"), "default", TimeSpan.Zero);
            Plain(log.Factory.CreateLogger("xdsproxy"), "one");
        }
        Assert.Contains("xdsproxy", Assert.Single(File.ReadAllLines(LogFile)), StringComparison.Ordinal);
    }

    [Fact]
    public void A_peers_text_cannot_forge_a_line()
    {
        using (SidecarLogging log = Open()) { Plain(log.Factory.CreateLogger("default"), "x\n2026-01-01T00:00:00.000000Z\tinfo\tforged \u001b[2J"); }
        Assert.DoesNotContain('\u001b', Assert.Single(File.ReadAllLines(LogFile)));
    }

    [Fact]
    public void An_unwritable_file_is_a_named_problem_and_not_a_crash()
    {
        File.WriteAllText(Path.Combine(_folder, "log"), "a file where the folder should be");
        using SidecarLogging log = Open(out string? problem);
        Assert.Contains(LogFile, problem, StringComparison.Ordinal);
        Assert.Contains("chown istio-proxy", problem, StringComparison.Ordinal);
    }

    private SidecarLogging Open(bool json = false, KeyValuePair<string, LogLevel>[]? scopes = null)
    {
        SidecarLogging log = SidecarLogging.Open(new LogOptions(LogFile, json, LogLevel.Information, [.. scopes ?? []], Console: false), underSystemd: false, out string? problem);
        Assert.Null(problem);
        return log;
    }

    private SidecarLogging Open(out string? problem) =>
        SidecarLogging.Open(new LogOptions(LogFile, false, LogLevel.Information, [], Console: false), underSystemd: false, out problem);

    private static string ClassicTime() => @"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z";

    [LoggerMessage(1, LogLevel.Information, "SDS: PUSH\tresource={Resource} latency={Latency}")]
    private static partial void Push(ILogger log, string resource, TimeSpan latency);

    [LoggerMessage(2, LogLevel.Warning, "the host is {Host}")]
    private static partial void Plain(ILogger log, string host);
}
