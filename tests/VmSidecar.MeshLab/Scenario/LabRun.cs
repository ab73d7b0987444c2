using VmSidecar.MeshLab.Lab;

namespace VmSidecar.MeshLab.Scenario;

/// <summary><c>run</c>: makes the mesh, shows the scenario, stays up unless told otherwise, takes everything down whatever happens.</summary>
internal static class LabRun
{
    public static async Task<int> RunAsync(string[] args, CancellationToken stop)
    {
        var transcript = new Transcript(Console.Out, TimeProvider.System);
        try
        {
            var options = LabOptions.Parse(args);
            await using LabMesh mesh = await LabMesh.MakeAsync(options, transcript, stop);
            try
            {
                await ShowAsync(mesh, options, transcript, stop);
            }
            catch (Exception e) when (e is LabException or HttpRequestException)
            {
                Explain(mesh, e.Message);
                return 1;
            }
            await Console.Out.WriteLineAsync("\nAll eight steps hold.");
            return 0;
        }
        catch (LabException e)
        {
            await Console.Error.WriteLineAsync($"run: {e.Message}");
            return 1;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await Console.Error.WriteLineAsync("run: interrupted; everything is taken down");
            return 130;
        }
    }

    private static async Task ShowAsync(LabMesh mesh, LabOptions options, Transcript transcript, CancellationToken stop)
    {
        var scenario = new MeshScenario(mesh, options, transcript);
        await scenario.UpAsync(stop);
        if (options.Figures) { await scenario.FiguresAsync(stop); }
        if (!options.Once)
        {
            Invite(mesh);
            try { await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop); }
            catch (OperationCanceledException) { }
            stop = CancellationToken.None;
        }
        await scenario.DownAsync(stop);
    }

    private static void Invite(LabMesh mesh) => Console.Out.WriteLine($"""

        The mesh stays up; Ctrl-C takes it down. To try:
          ip netns exec {mesh.Vm.Netns} setpriv --reuid=65534 --regid=65534 --clear-groups curl nginx.example.com
          ip netns exec {mesh.Vm.Netns} dig nginx.example.com
          ip netns exec {mesh.Vm.Netns} curl 'localhost:15020/healthz/ready?verbose'
          ip netns exec {mesh.Vm.Netns} curl localhost:15000/clusters
          tail -f {mesh.Vm.IstioLog}
        """);

    private static void Explain(LabMesh mesh, string problem)
    {
        Console.Out.WriteLine($"\nFAILED: {problem}");
        foreach (LabHost host in (LabHost[])[mesh.Vm, mesh.Pod])
        {
            if (host.Agent is { } agent) { Console.Out.WriteLine($"--- {host.Name} agent, last lines\n{agent.Tail()}"); }
        }
    }
}
