using System.Globalization;
using System.Text.Json.Nodes;

using VmSidecar.Commands;
using VmSidecar.Commands.Doctor;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Onboarding;

using Xunit;

namespace VmSidecar.Tests.Commands.Doctor;

public sealed class DoctorTests : IAsyncLifetime
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vsc-doctor-");
    private readonly StringWriter _out = new(CultureInfo.InvariantCulture), _error = new(CultureInfo.InvariantCulture);
    private FakeIstiod _istiod = null!;

    public async ValueTask InitializeAsync() => _istiod = await FakeIstiod.StartedAsync();

    public async ValueTask DisposeAsync()
    {
        await _istiod.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_host_in_order_reaches_istiod_before_the_first_start()
    {
        (int code, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(Files());
        Assert.StartsWith("127.0.0.1:", Cause(report, "NET002"), StringComparison.Ordinal);
        Assert.All(["CFG001", "CRT001", "CLK001", "TOK001", "NET001", "NET002", "TLS001", "AUT001", "XDS001", "ENV001"], c => Assert.Equal((c, "ok"), (c, outcome[c])));
        Assert.All(["AGT001", "CRT002", "REG001", "ENV002", "RUL001", "DNS001", "APP001"], c => Assert.Equal((c, "skipped"), (c, outcome[c])));
        Assert.Equal(0, code);
        Assert.Empty(_istiod.Registry.Entries); // looked, and left no trace
    }

    [Fact]
    public async Task An_expired_token_is_told_although_istiod_never_says()
    {
        OnboardingFiles files = Files();
        (int code, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(
            files with { Token = _istiod.Tokens.Make("vm-ns", "vm-sa", TimeSpan.FromMinutes(1), notBefore: TimeProvider.System.GetUtcNow() - TimeSpan.FromHours(2)) });
        Assert.Equal(("failed", "failed", "not-reached"), (outcome["TOK001"], outcome["AUT001"], outcome["XDS001"]));
        Assert.Contains("expired", Cause(report, "TOK001"), StringComparison.Ordinal);
        Assert.Equal(1, code);
    }

    [Fact]
    public async Task A_root_that_does_not_match_stops_at_tls()
    {
        await using FakeIstiod stranger = await FakeIstiod.StartedAsync();
        (_, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(Files() with { RootPem = stranger.CertificateAuthority.RootsPem });
        Assert.Equal(("ok", "failed", "not-reached", "not-reached"), (outcome["NET002"], outcome["TLS001"], outcome["AUT001"], outcome["XDS001"]));
        Assert.Contains("does not lead to any of the 1 trusted roots", Cause(report, "TLS001"), StringComparison.Ordinal);
        Assert.Empty(_istiod.Streams); // no credential went to a peer that was not verified
    }

    [Fact]
    public async Task A_closed_port_stops_at_tcp()
    {
        (_, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(Files() with { DiscoveryAddress = $"localhost:{FreePort.Next()}" });
        Assert.Equal(("ok", "failed", "not-reached"), (outcome["NET001"], outcome["NET002"], outcome["TLS001"]));
        Assert.Contains("refused", Cause(report, "NET002"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_name_that_does_not_resolve_stops_there()
    {
        (_, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(Files() with { DiscoveryAddress = "istiod.invalid:15012" });
        Assert.Equal(("ok", "failed", "not-reached"), (outcome["TOK001"], outcome["NET001"], outcome["NET002"]));
        Assert.Contains("istiod.invalid does not resolve", Cause(report, "NET001"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mistake_in_the_files_is_the_first_cause_of_everything()
    {
        (_, Dictionary<string, string> outcome, _) = await DiagnoseAsync(Files(), paths => File.AppendAllText(paths.ClusterEnv, "ISTIO_INBOUND_PORTS='80\n"));
        Assert.Equal("failed", outcome["CFG001"]);
        Assert.All(outcome.Where(o => o.Key != "CFG001"), o => Assert.Equal("not-reached", o.Value));
    }

    [Fact]
    public async Task Without_an_agent_its_parts_are_not_reached()
    {
        (_, Dictionary<string, string> outcome, JsonNode report) = await DiagnoseAsync(Files() with { }, inAdvance: false);
        Assert.Equal(("ok", "failed"), (outcome["XDS001"], outcome["AGT001"]));
        Assert.All(["CRT002", "REG001", "ENV002", "RUL001", "DNS001"], c => Assert.Equal((c, "not-reached"), (c, outcome[c])));
        Assert.Contains("status port", Cause(report, "AGT001"), StringComparison.Ordinal);
    }

    [Fact]
    public void Text_ends_with_where_to_start()
    {
        string text = DoctorReport.Text(
        [
            new("A1", "first", Finding.Ok("fine")),
            new("A2", "second", Finding.Fail("it is broken", "Mend it")),
            new("A3", "third", new Finding(Outcome.NotReached, "not reached: A2 comes first")),
        ]);
        Assert.Equal(
            """
            ok   A1  first                 fine
            FAIL A2  second                it is broken
                           -> Mend it
            ...  A3  third                 not reached: A2 comes first

            start with A2: it is broken. Mend it
            """,
            text);
    }

    [Fact]
    public void Codes_are_unique_and_needs_come_before()
    {
        List<string> seen = [];
        foreach (IDoctorCheck check in DoctorChain.All)
        {
            Assert.DoesNotContain(check.Code, seen);
            Assert.All(check.Needs, need => Assert.Contains(need, seen));
            seen.Add(check.Code);
        }
    }

    private static string Cause(JsonNode report, string code) => report["checks"]!.AsArray().Single(c => c!["code"]!.ToString() == code)!["cause"]!.ToString();

    private OnboardingFiles Files() => new()
    {
        Group = "vm-app",
        Namespace = "vm-ns",
        ServiceAccount = "vm-sa",
        AutoRegister = true,
        DiscoveryAddress = $"localhost:{_istiod.Address.Port}",
        Token = _istiod.Tokens.Make("vm-ns", "vm-sa"),
        RootPem = _istiod.CertificateAuthority.RootsPem,
    };

    private async Task<(int Code, Dictionary<string, string> Outcome, JsonNode Report)> DiagnoseAsync(OnboardingFiles files, Action<HostPaths>? then = null, bool inAdvance = true)
    {
        var paths = new HostPaths(_folder.FullName);
        files.Install(paths);
        then?.Invoke(paths);
        string envoy = Path.Combine(_folder.FullName, "envoy");
        await File.WriteAllTextAsync(envoy, "#!/bin/sh\n");
        File.SetUnixFileMode(envoy, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var cli = new Cli(_out, _error, new Dictionary<string, string> { ["PATH"] = _folder.FullName, ["INSTANCE_IP"] = "10.99.0.2" }, "vmsidecar");
        int code = await DoctorCommand.RunAsync(cli, paths, inAdvance, json: true, TimeSpan.Zero, CancellationToken.None);
        JsonNode report = JsonNode.Parse(_out.ToString())!;
        return (code, report["checks"]!.AsArray().ToDictionary(c => c!["code"]!.ToString(), c => c!["outcome"]!.ToString()), report);
    }
}
