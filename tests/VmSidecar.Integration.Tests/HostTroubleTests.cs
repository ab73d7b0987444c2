using System.Net.Sockets;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>What the host lacks or does wrong to Envoy: said once, tried again, and names go on being answered meanwhile.</summary>
public sealed class HostTroubleTests
{
    public static TheoryData<string, string> Troubles() => new()
    {
        { "missing", "cannot start Envoy: no Envoy executable" },
        { "folder", "cannot start Envoy: no Envoy executable" },
        { "not executable", "cannot start Envoy: no Envoy executable" },
        { "ends at once", "Envoy exited with error: exit status 3" },
    };

    [Theory]
    [MemberData(nameof(Troubles))]
    public async Task An_Envoy_that_does_not_start_is_named_once_and_taken_when_mended(string which, string said)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod), binary = Path.Combine(root, "envoy"), mark = Path.Combine(root, "tries");
        switch (which)
        {
            case "folder": Directory.CreateDirectory(binary); break;
            case "not executable": File.WriteAllText(binary, "#!/bin/sh\n"); break;
            case "ends at once": Script(binary, $"echo x >> {mark}; echo 'cannot bind: in use' >&2; exit 3"); break;
        }
        await using RunningAgent agent = RunningAgent.Start(root, istiod, options => options with
        {
            Envoy = options.Envoy with { Enabled = true, Binary = binary, SearchedFor = [binary], AdminPort = FreePort.Next(), TerminationDrainDuration = TimeSpan.FromMilliseconds(1) },
        });
        await agent.Log.LineAsync(said);
        if (which == "ends at once")
        {
            await Test.UntilAsync(() => File.Exists(mark) && File.ReadAllLines(mark).Length >= 3); // tried again
            Assert.Contains("cannot bind: in use", await agent.Log.LineAsync("starting it again in"), StringComparison.Ordinal);
        }
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "names without Envoy");
        await AssertAnswersAsync(agent);
        if (Directory.Exists(binary)) { Directory.Delete(binary); }
        Script(binary, $"touch {mark}.up; exec sleep 1000");
        await Test.UntilAsync(() => File.Exists(mark + ".up"));
        Assert.Equal(1, agent.Log.Count(said));
        Assert.False(agent.Ended.IsCompleted);
        Assert.Equal(ExitCode.Stopped, await agent.StopAsync());
        Assert.Equal(1, agent.Log.Count("JWT policy is"));
        Assert.Equal(1, agent.Log.Count("Starting default Istio SDS Server"));
    }

    [Fact]
    public async Task A_folder_in_the_tokens_place_is_called_one_and_the_file_is_taken_up()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod), file = new HostPaths(root).Token, good = await File.ReadAllTextAsync(file);
        File.Delete(file);
        Directory.CreateDirectory(file);
        await using RunningAgent agent = RunningAgent.Start(root, istiod);
        Assert.Contains("is a directory", await agent.Log.LineAsync("failed to fetch token from file"), StringComparison.Ordinal);
        await agent.Log.LineAsync("failed to warm certificate");
        Directory.Delete(file);
        await File.WriteAllTextAsync(file, good);
        await agent.Log.LineAsync("generated new workload certificate");
        Assert.Equal(1, agent.Log.Count("failed to fetch token from file"));
    }

    /// <summary>Asks for a name of the mesh and expects an answer section.</summary>
    private static async Task AssertAnswersAsync(RunningAgent agent)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, .. "nginx"u8, 7, .. "example"u8, 3, .. "com"u8, 0, 0, 1, 0, 1];
        using var socket = new UdpClient();
        await socket.SendAsync(query, query.Length, agent.Dns);
        UdpReceiveResult reply = await socket.ReceiveAsync().WaitAsync(Test.Deadline);
        Assert.Equal((0x12, 0x34, 0), (reply.Buffer[0], reply.Buffer[1], reply.Buffer[3] & 15));
        Assert.NotEqual(0, reply.Buffer[7]);
    }

    private static void Script(string path, string body)
    {
        File.WriteAllText(path + ".new", $"#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\n{body}\n");
        File.SetUnixFileMode(path + ".new", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Move(path + ".new", path, overwrite: true);
    }
}
