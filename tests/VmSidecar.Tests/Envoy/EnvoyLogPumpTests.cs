using System.Globalization;

using VmSidecar.Envoy;
using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoyLogPumpTests
{
    private readonly Lines _lines = new(), _log = new();
    private readonly MetricRegistry _metrics = new();

    [Fact]
    public async Task Lines_come_whole_and_in_order()
    {
        await using (var pump = new EnvoyLogPump(_lines.Take, _metrics, _log))
        {
            await RunAsync(pump, "seq 1 2000; printf 'a\\n\\nb'", new LastWords());
        }
        Assert.Equal([.. Enumerable.Range(1, 2000).Select(i => i.ToString(CultureInfo.InvariantCulture)), "a", "", "b"], _lines.All);
    }

    [Fact]
    public async Task A_line_longer_than_the_buffer_comes_in_pieces()
    {
        await using (var pump = new EnvoyLogPump(_lines.Take, _metrics, _log))
        {
            await RunAsync(pump, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo end", new LastWords());
        }
        Assert.Equal(200_000, _lines.All.Where(l => l.StartsWith('x')).Sum(l => l.Length));
        Assert.Equal("end", _lines.All[^1]);
    }

    [Fact]
    public async Task A_sink_that_hangs_costs_lines_not_Envoy()
    {
        using var released = new ManualResetEventSlim();
        await using (var pump = new EnvoyLogPump(line => { released.Wait(); _lines.Take(line); }, _metrics, _log))
        {
            await RunAsync(pump, "seq 1 100000", new LastWords()); // ends although nothing is taken
            released.Set();
        }
        Assert.InRange(_lines.All.Count, 1, 8194);
        Assert.Equal(100_000 - _lines.All.Count, _metrics.Counter("envoy_log_lines_dropped_total", "").Value);
        Assert.Contains(_log.All, l => l.Contains("lines of Envoy's output were left out", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_last_words_are_those_of_stderr()
    {
        var words = new LastWords();
        await using (var pump = new EnvoyLogPump(_lines.Take, _metrics, _log))
        {
            await RunAsync(pump, "for i in 1 2 3 4 5 6; do echo \"reason $i\" >&2; done; echo out", words);
        }
        Assert.Equal("Its last words: reason 3 | reason 4 | reason 5 | reason 6", words.Explain());
        Assert.Equal("It wrote nothing to stderr", new LastWords().Explain());
    }

    private static async Task RunAsync(EnvoyLogPump pump, string script, LastWords words)
    {
        ChildProcess child = await ChildProcess.StartAsync(new ChildCommand("/bin/sh", ["-c", script], new Dictionary<string, string> { ["PATH"] = "/usr/bin:/bin" }));
        await pump.Attach(child, words).Ended.WaitAsync(Test.Deadline);
        Assert.True((await child.Exited.WaitAsync(Test.Deadline)).IsNormal);
    }
}
