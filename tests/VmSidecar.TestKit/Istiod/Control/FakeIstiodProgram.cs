using System.Runtime.InteropServices;

using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>
/// A FakeIstiod with the scenario's mesh as a process of its own. Writes root-cert.pem, vm-token, pod-token and foreign/ (a
/// certificate of another mesh) into the state folder before it says <c>listening on</c>; ends on SIGTERM or SIGINT.
/// </summary>
internal static class FakeIstiodProgram
{
    public static async Task<int> RunAsync(IReadOnlyList<string> args)
    {
        var options = IstiodProgramOptions.Parse(args);
        using var log = new ConsoleLog();
        await using var istiod = new FakeIstiod(new IstiodOptions { Version = options.Version, Listen = options.Listen, Intermediates = 1, Log = log }, tokens: new TokenMaker(TimeProvider.System, rsa: true))
        {
            Mesh = ScenarioMesh.With(options.Pod) with { IstioFilters = options.IstioFilters },
        };
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        await istiod.StartAsync();
        await WriteStateAsync(istiod, options.State);
        await using var control = new IstiodControl(istiod, options.Control);
        await control.StartAsync(CancellationToken.None);
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        await Console.Out.WriteLineAsync($"listening on {istiod.Address}");
        await stop.Task;
        await istiod.StopAsync();
        return 0;

        void Stop(PosixSignalContext signal)
        {
            signal.Cancel = true;
            stop.TrySetResult();
        }
    }

    private static async Task WriteStateAsync(FakeIstiod istiod, string folder)
    {
        Directory.CreateDirectory(folder);
        await File.WriteAllTextAsync(Path.Combine(folder, "root-cert.pem"), istiod.RootsPem);
        await File.WriteAllTextAsync(Path.Combine(folder, "vm-token"), istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount));
        await File.WriteAllTextAsync(Path.Combine(folder, "pod-token"), istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.PodAccount));
        new FakeCa(TimeProvider.System).Issue("spiffe://elsewhere/ns/other/sa/other", TimeSpan.FromDays(1)).WriteTo(Path.Combine(folder, "foreign"));
    }
}
