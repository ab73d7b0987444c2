using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoyRendererTests
{
    private static readonly CommandRunner Runner = new(Test.Deadline, TimeProvider.System);

    [Fact]
    public async Task Writes_the_bootstrap_for_its_eyes_only_and_names_the_version()
    {
        using var fake = new FakeEnvoy("echo 'envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL'");
        EnvoyOptions options = fake.Options with { ConfigDirectory = Path.Combine(fake.Folder, "proxy") };

        (EnvoyCommand? command, string? problem) = await new EnvoyRenderer(options, (_, _) => Task.FromResult(true), Runner).RenderAsync(CancellationToken.None);

        Assert.Null(problem);
        Assert.Equal("1.40.0", command!.Version);
        Assert.Equal(["-c", Path.Combine(fake.Folder, "proxy", "envoy-rev.json")], command.Arguments.Take(2));
        Assert.Equal(new KeyValuePair<string, string>("TZ", "UTC"), command.Environment[^1]);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(command.Arguments[1]));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(options.ConfigDirectory));
        JsonNode bootstrap = JsonNode.Parse(await File.ReadAllTextAsync(command.Arguments[1]))!;
        Assert.Equal("DELTA_GRPC", bootstrap["dynamic_resources"]!["ads_config"]!["api_type"]!.ToString());
    }

    [Fact]
    public async Task The_version_is_asked_once_per_executable()
    {
        using var fake = new FakeEnvoy("echo run >> \"$0.asked\"; echo 'envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL'");
        var renderer = new EnvoyRenderer(fake.Options, (_, _) => Task.FromResult(false), Runner);

        await renderer.RenderAsync(CancellationToken.None);
        await renderer.RenderAsync(CancellationToken.None);
        Assert.Single(await File.ReadAllLinesAsync(fake.Binary + ".asked"));

        fake.Write("echo 'envoy  version: 9e55/1.41.2/Clean/RELEASE/BoringSSL'");
        File.SetLastWriteTimeUtc(fake.Binary, new DateTime(2030, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        Assert.Equal("1.41.2", (await renderer.RenderAsync(CancellationToken.None)).Command!.Version);
    }

    /// <summary>It costs the sink, not the agent.</summary>
    [Fact]
    public async Task A_statsd_host_that_no_name_can_be_is_left_out()
    {
        using var fake = new FakeEnvoy("echo 'envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL'");
        EnvoyOptions options = fake.Options with { ProxyConfig = new JsonObject { ["statsdUdpAddress"] = new string('a', 300) + ":8125" } };
        (EnvoyCommand? command, string? problem) = await new EnvoyRenderer(options, (_, _) => Task.FromResult(true), Runner).RenderAsync(CancellationToken.None);
        Assert.Null(problem);
        Assert.DoesNotContain("aaaa", await File.ReadAllTextAsync(command!.Arguments[1]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_the_first_start_waits_for_the_protocol_to_be_known()
    {
        using var fake = new FakeEnvoy("echo 'envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL'");
        List<TimeSpan> waits = [];
        var renderer = new EnvoyRenderer(fake.Options, (atMost, _) => { waits.Add(atMost); return Task.FromResult(false); }, Runner);
        await renderer.RenderAsync(CancellationToken.None);
        await renderer.RenderAsync(CancellationToken.None);
        Assert.Equal([TimeSpan.FromSeconds(1), TimeSpan.Zero], waits);
    }

    [Fact]
    public async Task A_missing_executable_says_where_it_was_looked_for()
    {
        using var fake = new FakeEnvoy("");
        EnvoyOptions options = fake.Options with { Binary = null, SearchedFor = ["/nonexistent/a", "/nonexistent/b"] };
        (EnvoyCommand? command, string? problem) = await new EnvoyRenderer(options, (_, _) => Task.FromResult(true), Runner).RenderAsync(CancellationToken.None);
        Assert.Null(command);
        Assert.Contains("/nonexistent/a, /nonexistent/b", problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_nobody_may_execute_is_no_executable()
    {
        using var fake = new FakeEnvoy("");
        File.SetUnixFileMode(fake.Binary, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        EnvoyOptions options = fake.Options with { SearchedFor = [fake.Binary, fake.Folder] };
        (EnvoyCommand? command, string? problem) = await new EnvoyRenderer(options, (_, _) => Task.FromResult(true), Runner).RenderAsync(CancellationToken.None);
        Assert.Null(command);
        Assert.Contains("no Envoy executable", problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_that_cannot_be_written_is_a_problem_not_a_fault()
    {
        using var fake = new FakeEnvoy("echo 'envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL'");
        EnvoyOptions options = fake.Options with { ConfigDirectory = fake.Binary }; // a file
        (EnvoyCommand? command, string? problem) = await new EnvoyRenderer(options, (_, _) => Task.FromResult(true), Runner).RenderAsync(CancellationToken.None);
        Assert.Null(command);
        Assert.Contains("cannot write the bootstrap", problem, StringComparison.Ordinal);
    }
}
