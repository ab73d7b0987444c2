using VmSidecar.Commands;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary><c>log reopen</c> finds running agents under all their names, and those only which catch the signal.</summary>
public sealed class RunningAgentsTests : IDisposable
{
    private readonly string _proc = Directory.CreateTempSubdirectory("vsc-proc-").FullName;

    public void Dispose() => Directory.Delete(_proc, recursive: true);

    [Fact]
    public void Finds_agents_and_nothing_else()
    {
        Process(10, "/usr/bin/vmsidecar\0run\0", "0000000000000200");
        Process(11, "pilot-agent\0proxy\0sidecar\0", "0000000000000000");
        Process(12, "/usr/bin/vmsidecar\0iptables\0watch\0", "0000000000000200");
        Process(13, "/usr/local/bin/envoy\0run\0", "0000000000000200");
        Process(14, "", "0000000000000000");
        Directory.CreateDirectory(Path.Combine(_proc, "15")); // gone meanwhile
        Assert.Equal([10, 11], RunningAgents.Find(_proc).Order());
        Assert.True(RunningAgents.Catches(10, 10, _proc));
        Assert.False(RunningAgents.Catches(11, 10, _proc));
        Assert.False(RunningAgents.Catches(15, 10, _proc));
    }

    [Theory]
    [InlineData("bash")]
    [InlineData("zsh")]
    [InlineData("fish")]
    public void Completion_asks_the_program(string shell) => Assert.Contains("[suggest:", CompletionCommand.Script(shell), StringComparison.Ordinal);

    private void Process(int pid, string arguments, string caught)
    {
        string folder = Directory.CreateDirectory(Path.Combine(_proc, $"{pid}")).FullName;
        File.WriteAllText(Path.Combine(folder, "cmdline"), arguments);
        File.WriteAllText(Path.Combine(folder, "status"), $"Name:\tx\nSigCgt:\t{caught}\n");
    }
}
