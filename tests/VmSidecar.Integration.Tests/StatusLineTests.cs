using System.Net.Sockets;
using System.Text;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>The line of <c>systemctl status</c>, as systemd is sent it: who issues the certificate, and what is wrong with the identity.</summary>
public sealed class StatusLineTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsn-").FullName;
    private readonly List<string> _told = [];
    private readonly Socket _systemd = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    public StatusLineTests() => _systemd.Bind(new UnixDomainSocketEndPoint(Notify));

    private string Notify => Path.Combine(_folder, "notify");

    public void Dispose()
    {
        _systemd.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Names_the_certificate_and_an_agent_that_is_well_has_no_code()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod, notify: Notify);
        await LineAsync(l => l.StartsWith("READY=1\n", StringComparison.Ordinal));
        string line = await LineAsync(l => l.Contains("STATUS=ready; istiod connected; certificate until", StringComparison.Ordinal));
        Assert.Matches(@"STATUS=ready; istiod connected; certificate until \d{4}-\d\d-\d\d \d\d:\d\d UTC; envoy Idle$", line);
    }

    [Fact]
    public async Task Says_that_somebody_else_issues_the_certificate()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod), socket = new HostPaths(root).WorkloadSdsSocket;
        Directory.CreateDirectory(Path.GetDirectoryName(socket)!);
        using var spire = new GrpcServer(GrpcServerOptions.OnSocket("spire", socket), new Dictionary<string, GrpcHandler>(), NullLogger.Instance);
        await spire.StartAsync(CancellationToken.None);
        await using RunningAgent agent = RunningAgent.Start(root, istiod, notify: Notify);
        await LineAsync(l => l.Contains("; certificate from an external SDS; envoy Idle", StringComparison.Ordinal));
        await agent.StopAsync();
        await spire.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Says_the_code_and_the_reason_of_an_identity_that_is_refused()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string token = istiod.Tokens.Make("vm-ns", "vm-sa", lifetime: TimeSpan.FromHours(1), notBefore: TimeProvider.System.GetUtcNow().AddHours(-3));
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod, token), istiod, notify: Notify);
        string line = await LineAsync(l => l.Contains("AUT001", StringComparison.Ordinal));
        Assert.Contains("see vmsidecar doctor] no istiod; no certificate; envoy Idle; ", line, StringComparison.Ordinal);
        Assert.Contains("expired", line[line.IndexOf("envoy Idle; ", StringComparison.Ordinal)..], StringComparison.Ordinal);
    }

    /// <summary>The first message that is as awaited.</summary>
    private async Task<string> LineAsync(Func<string, bool> holds)
    {
        using var limit = new CancellationTokenSource(Test.Deadline * 2); // what has no change of readiness is sent once a minute
        byte[] buffer = new byte[4096];
        List<string> all = [.. _told];
        if (all.FirstOrDefault(holds) is { } already) { return already; }
        while (true)
        {
            try { all.Add(Encoding.UTF8.GetString(buffer, 0, await _systemd.ReceiveAsync(buffer, limit.Token))); }
            catch (OperationCanceledException) { throw new TimeoutException("systemd was told only:\n" + string.Join('\n', all)); }
            _told.Add(all[^1]);
            if (holds(all[^1])) { return all[^1]; }
        }
    }
}
