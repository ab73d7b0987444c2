using VmSidecar.Configuration;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Wasm;

/// <summary>Modules in a folder of their own, on a clock the test moves, and the web server and registry they are fetched from.</summary>
internal sealed class ModuleBench : IAsyncDisposable
{
    private ModuleBench(ModuleServer server) => Server = server;

    public string Folder { get; } = Directory.CreateTempSubdirectory("vsc-wasm-").FullName;

    public ManualTimeProvider Time { get; } = new();

    public ListLog Log { get; } = new();

    public MetricRegistry Metrics { get; } = new();

    public ModuleServer Server { get; }

    /// <summary>Every file that is kept or half fetched.</summary>
    public string[] Kept => Directory.GetFiles(Folder, "*", SearchOption.AllDirectories);

    public static async Task<ModuleBench> StartAsync() => new(await ModuleServer.StartAsync());

    /// <summary>As after a start of the agent, on the same folder; the caller disposes it.</summary>
    public WasmModules Make(Func<WasmOptions, WasmOptions>? change = null)
    {
        var options = new WasmOptions { Directory = Folder };
        return new WasmModules(change?.Invoke(options) ?? options, new WasmMetrics(Metrics), Time, Log.CreateLogger("wasm"));
    }

    public string Url(string path) => $"http://{Server.Host}{path}";

    public WasmModuleRequest Request(string path, string sha = "") => new("f", Url(path), sha, TimeSpan.Zero);

    public WasmModuleRequest Image(string name, string sha = "") => new("f", $"oci://{Server.Host}/{name}", sha, TimeSpan.Zero);

    /// <summary>What becomes of a request, however it ends.</summary>
    public static Task<WasmModuleResult> GetAsync(WasmModules modules, WasmModuleRequest request) => modules.GetAsync(request, CancellationToken.None).WaitAsync(Test.Deadline);

    /// <summary>The file of a request that must succeed.</summary>
    public static async Task<string> FileAsync(WasmModules modules, WasmModuleRequest request)
    {
        WasmModuleResult result = await GetAsync(modules, request);
        Assert.Equal("", result.Error);
        return result.File!;
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        Directory.Delete(Folder, recursive: true);
    }
}
