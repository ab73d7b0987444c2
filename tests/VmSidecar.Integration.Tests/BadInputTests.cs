using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>What is wrong at start: said in a line a person can act on, retried where time can mend it, mended without a restart.</summary>
public sealed class BadInputTests
{
    public static TheoryData<string, string> Mended() => new()
    {
        { "expired token", "expired" },
        { "empty token", "token" },
        { "missing token", "token" },
        { "token of another audience", "audience" },
    };

    [Theory]
    [MemberData(nameof(Mended))]
    public async Task A_bad_token_is_named_and_a_good_one_is_taken_up_at_once(string which, string said)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string good = istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount);
        string root = RunningAgent.Onboard(istiod, token: which switch
        {
            "expired token" => istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount, notBefore: TimeProvider.System.GetUtcNow().AddHours(-2)),
            "token of another audience" => istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount, audience: "vault"),
            _ => "",
        });
        string file = new HostPaths(root).Token;
        if (which == "missing token") { File.Delete(file); }
        await using RunningAgent agent = RunningAgent.Start(root, istiod);
        await istiod.UntilAsync(i => !i.Ca.Calls.IsEmpty, "a refused call");
        await agent.Log.LineAsync("Unauthenticated");
        await agent.Log.TroubleAsync(said);
        await File.WriteAllTextAsync(file, good);
        await agent.Log.LineAsync("generated new workload certificate");
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "stream after the token was mended");
        Assert.DoesNotContain(agent.Log.Lines, l => l.Contains(good[^40..], StringComparison.Ordinal)); // no token in any line
        Assert.Empty(istiod.Violations);
    }

    [Theory]
    [InlineData("root")]
    [InlineData("name")]
    public async Task An_istiod_that_cannot_be_trusted_gets_no_token(string which)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod, roots: which == "root" ? new FakeCa(TimeProvider.System).RootsPem : null);
        if (which == "name") { istiod.Tls.Reissue(names: "other.example.com"); }
        await using RunningAgent agent = RunningAgent.Start(root, istiod);
        await agent.Log.LineAsync("failed to warm certificate");
        await agent.Log.TroubleAsync(which == "root" ? "does not lead to any of the 1 trusted roots" : "istiod.istio-system.svc");
        Assert.Empty(istiod.Ca.Calls);
        Assert.Empty(istiod.Ads.Ended);
        Assert.False(agent.Ended.IsCompleted);
    }

    [Theory]
    [InlineData("token", "is for audience vault")]
    [InlineData("root", "does not lead to any of the 1 trusted roots")]
    [InlineData("name", "not for istiod.istio-system.svc")]
    [InlineData("refused", "connection refused")]
    public async Task One_cause_is_one_line_however_many_meet_it(string which, string said)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod,
            token: which == "token" ? istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount, audience: "vault") : null,
            roots: which == "root" ? new FakeCa(TimeProvider.System).RootsPem : null);
        if (which == "name") { istiod.Tls.Reissue(names: "other.example.com"); }
        if (which == "refused") { await istiod.StopAsync(); }
        await using RunningAgent agent = RunningAgent.Start(root, istiod);
        await agent.Log.LineAsync("failed to warm certificate");
        await agent.Log.LineAsync(", attempt 4, failed"); // the own stream has met it again and again
        string[] told = [.. agent.Log.Lines.Where(l => !l.StartsWith("Debug", StringComparison.Ordinal) && l.Contains(said, StringComparison.Ordinal))];
        Assert.True(told.Length == 1, string.Join('\n', agent.Log.Lines));
        Assert.Equal(which == "refused" ? 1 : 0, agent.Log.Lines.Count(l => l.StartsWith("Warning", StringComparison.Ordinal) && l.Contains("ca request failed", StringComparison.Ordinal)));
        Assert.DoesNotContain(agent.Log.Lines, l => l.StartsWith("Warning xdsproxy", StringComparison.Ordinal) || l.StartsWith("Error xdsproxy", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_CA_that_cheats_is_not_believed()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        istiod.Ca.Scripts.Enqueue(new CaScript.WrongIdentity("spiffe://cluster.local/ns/other/sa/other"));
        istiod.Ca.Scripts.Enqueue(new CaScript.WrongKey());
        istiod.Ca.Scripts.Enqueue(new CaScript.Truncate(1));
        istiod.Ca.Scripts.Enqueue(new CaScript.Truncate(0));
        istiod.Ca.Scripts.Enqueue(new CaScript.Garbage());
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await agent.Log.LineAsync("generated new workload certificate");
        Assert.Equal(6, istiod.Ca.Calls.Count);
        Assert.Equal(1, agent.Log.Count("generated new workload certificate"));
    }

    [Fact]
    public async Task A_group_nobody_made_is_named_and_registration_follows_once_it_is_there()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        istiod.Registry.RemoveGroup(ScenarioMesh.Namespace, "nginx");
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        await using (TestKit.Istiod.Peers.AdsPeer envoy = await agent.EnvoyAsync(delta: true))
        {
            await envoy.AskDeltaAsync("CDS", node: agent.Node());
            Assert.Equal(GrpcStatusCode.FailedPrecondition, (await envoy.EndAsync()).Code);
        }
        await agent.Log.LineAsync("cannot find WorkloadGroup istio-demo/nginx");
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        await using TestKit.Istiod.Peers.AdsPeer again = await agent.EnvoyAsync(delta: true);
        await again.AskDeltaAsync("CDS", node: agent.Node());
        Assert.NotNull(await again.NextDeltaAsync());
        Assert.Single(istiod.Registry.Entries);
    }
}
