using VmSidecar.MeshLab.Lab;

namespace VmSidecar.Package.Tests.Machines;

/// <summary>A client on a machine that calls the mesh's host one request after the other, each by name and over a new connection, until it is told to end.</summary>
internal sealed class Traffic : IAsyncDisposable
{
    private readonly Machine _vm;
    private readonly Task<ShellResult> _loop;

    private Traffic(Machine vm, CancellationToken stop)
    {
        _vm = vm;
        _loop = vm.TryAsync("touch /root/traffic; while [ -e /root/traffic ]; do curl -sS --max-time 5 -o /dev/null -w '%{http_code} %{time_total}\\n' http://nginx.example.com/ 2>&1 || true; done", stop);
    }

    public static async Task<Traffic> StartAsync(Machine vm, CancellationToken stop)
    {
        await vm.RunAsync("rm -f /root/traffic", stop);
        var traffic = new Traffic(vm, stop);
        await vm.UntilAsync("the client", "test -e /root/traffic", r => r.Exit == 0, stop);
        return traffic;
    }

    /// <summary>How many answers were 200, and every line that was not.</summary>
    public async Task<(int Good, string[] Bad)> EndAsync(CancellationToken stop)
    {
        await _vm.RunAsync("rm -f /root/traffic", stop);
        string[] lines = (await _loop).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return (lines.Count(l => l.StartsWith("200 ", StringComparison.Ordinal)), [.. lines.Where(l => !l.StartsWith("200 ", StringComparison.Ordinal))]);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_loop.IsCompleted) { await _vm.TryAsync("rm -f /root/traffic", CancellationToken.None); }
        await ((Task)_loop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
