using System.Diagnostics;

namespace VmSidecar.Benchmarks.Xds;

/// <summary>The relay's process, seen from the driver. Dispose ends it.</summary>
internal sealed class RelayProcess : IAsyncDisposable
{
    private const int Calm = 25; // readings, 60 ms apart: what was accepted is written a second later

    private readonly Process _process;

    private RelayProcess(Process process, string socket) => (_process, Socket) = (process, socket);

    /// <summary>Where it serves Envoy.</summary>
    public string Socket { get; }

    public static async Task<RelayProcess> StartAsync(string folder, PushStand stand, string? other)
    {
        string socket = Path.Combine(folder, "XDS"), roots = Path.Combine(folder, "root.pem"), state = Path.Combine(folder, "state");
        await File.WriteAllTextAsync(roots, stand.RootPem);
        Directory.CreateDirectory(state);
        string program = other ?? Environment.ProcessPath!;
        string[] own = other is null && Path.GetFileNameWithoutExtension(program) == "dotnet" ? [Path.Combine(AppContext.BaseDirectory, "VmSidecar.Benchmarks.dll")] : [];
        var start = new ProcessStartInfo(program, [.. own, "xds-relay", socket, stand.Target, roots, state]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        var relay = new RelayProcess(Process.Start(start)!, socket);
        if (await relay._process.StandardOutput.ReadLineAsync() != "ready") { throw new InvalidOperationException("the relay did not start"); }
        return relay;
    }

    /// <summary>Its figures now: <c>figures</c>, after <c>peak</c> has reset the memory peak, or after <c>collect</c> has collected garbage.</summary>
    public async Task<ProcessFigures> FiguresAsync(string command)
    {
        await _process.StandardInput.WriteLineAsync(command);
        await _process.StandardInput.FlushAsync();
        return ProcessFigures.Parse((await _process.StandardOutput.ReadLineAsync())!);
    }

    /// <summary>Waits until it does nothing any more: what was accepted is on disk.</summary>
    public async Task QuietAsync()
    {
        string last = "";
        for (int same = 0; same < Calm;)
        {
            string[] fields = (await File.ReadAllTextAsync($"/proc/{_process.Id}/stat")).Split(' ');
            string cpu = fields[13] + " " + fields[14];
            same = cpu == last ? same + 1 : 0;
            last = cpu;
            await Task.Delay(TimeSpan.FromMilliseconds(60), TimeProvider.System);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
