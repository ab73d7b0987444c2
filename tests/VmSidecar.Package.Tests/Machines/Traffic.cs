using VmSidecar.MeshLab.Lab;

namespace VmSidecar.Package.Tests.Machines;

/// <summary>A client on a machine that asks one thing after the other until it is told to end: the mesh's host, each by name and over a new connection, or names.</summary>
internal sealed class Traffic : IAsyncDisposable
{
    private readonly Machine _vm;
    private readonly Task<ShellResult> _loop;

    private readonly string _flag;

    private Traffic(Machine vm, string flag, string ask, CancellationToken stop)
    {
        _vm = vm;
        _flag = flag;
        _loop = vm.TryAsync($"touch {flag}; while [ -e {flag} ]; do {ask} 2>&1 || true; done", stop);
    }

    public static Task<Traffic> StartAsync(Machine vm, CancellationToken stop) =>
        StartAsync(vm, "/root/traffic", "curl -sS --max-time 5 -o /dev/null -w '%{http_code} %{time_total}\\n' http://nginx.example.com/", stop);

    /// <summary>A name of the mesh and one of the world in turn, one attempt each: what is not answered within five seconds is lost.</summary>
    public static Task<Traffic> NamesAsync(Machine vm, CancellationToken stop) => StartAsync(
        vm, "/root/names", "for n in nginx.example.com outside.example.org; do a=$(dig +short +tries=1 +timeout=5 $n) && case $a in [0-9]*) echo \"200 $a\" ;; *) echo \"$n: '$a'\" ;; esac; done", stop);

    private static async Task<Traffic> StartAsync(Machine vm, string flag, string ask, CancellationToken stop)
    {
        await vm.RunAsync($"rm -f {flag}", stop);
        var traffic = new Traffic(vm, flag, ask, stop);
        await vm.UntilAsync("the client", $"test -e {flag}", r => r.Exit == 0, stop);
        return traffic;
    }

    /// <summary>How many answers were good, and every line that was not.</summary>
    public async Task<(int Good, string[] Bad)> EndAsync(CancellationToken stop)
    {
        await _vm.RunAsync($"rm -f {_flag}", stop);
        string[] lines = (await _loop).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return (lines.Count(l => l.StartsWith("200 ", StringComparison.Ordinal)), [.. lines.Where(l => !l.StartsWith("200 ", StringComparison.Ordinal))]);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_loop.IsCompleted) { await _vm.TryAsync($"rm -f {_flag}", CancellationToken.None); }
        await ((Task)_loop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
