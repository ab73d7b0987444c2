using System.Globalization;

using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>What the installed service costs: printed, not judged. Only on request: <c>./build.sh machines -explicit only</c>.</summary>
public sealed class FiguresTests(PackageMesh mesh)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact(Explicit = true)]
    public async Task Start_memory_and_the_gap_of_a_restart()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        List<double> starts = [];
        for (int i = 0; i < 5; i++)
        {
            string times = await vm.RunAsync("systemctl start istio; systemctl show -p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic --value istio", Stop);
            double[] both = [.. times.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(t => double.Parse(t, CultureInfo.InvariantCulture) / 1000)];
            starts.Add(Math.Abs(both[1] - both[0]));
            if (i < 4) { await vm.RunAsync("systemctl stop istio", Stop); }
        }
        await mesh.RegisteredAsync(vm, Stop);
        await vm.UntilAsync("the first answer", "curl -sS --max-time 5 http://nginx.example.com/", r => r.Output.StartsWith("Welcome", StringComparison.Ordinal), Stop);
        Say($"load {(await File.ReadAllTextAsync("/proc/loadavg", Stop)).Trim()}");
        Say($"systemctl start to READY with rules on: median {starts.Order().ElementAt(2):F0} ms of {string.Join(' ', starts.Select(s => s.ToString("F0", CultureInfo.InvariantCulture)))}");
        Say("agent: " + (await vm.RunAsync("grep -E 'VmRSS|RssAnon' /proc/$(systemctl show -p MainPID --value istio)/status | tr '\\n\\t' '  '", Stop)));
        Say("systemd-analyze: " + (await vm.RunAsync("systemd-analyze security --no-pager istio.service | tail -n 1", Stop)).Trim());
        await using (Traffic during = await Traffic.StartAsync(vm, Stop))
        {
            Say("reload: " + (await vm.RunAsync("vmsidecar reload", Stop)).Trim());
            (int answers, string[] lost) = await during.EndAsync(Stop);
            Say($"reload under a client that calls without pause: {answers} answers, {lost.Length} lines of failure");
            Say("agent after it: " + (await vm.RunAsync("grep -E 'VmRSS|RssAnon' /proc/$(systemctl show -p MainPID --value istio)/status | tr '\\n\\t' '  '", Stop)));
        }
        await using Traffic traffic = await Traffic.StartAsync(vm, Stop);
        await vm.RunAsync("systemctl restart istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        (int good, string[] bad) = await traffic.EndAsync(Stop);
        Say($"restart under a client that calls without pause: {good} answers, {bad.Length} lines of failure: {string.Join(" | ", bad.Distinct().Take(5))}");
    }

    private static void Say(string line) => TestContext.Current.TestOutputHelper!.WriteLine(line);
}
