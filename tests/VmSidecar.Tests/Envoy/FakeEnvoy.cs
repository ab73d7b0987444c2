using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Envoy;

namespace VmSidecar.Tests.Envoy;

/// <summary>A shell script in Envoy's place, and the options that go with it. Owns a folder.</summary>
internal sealed class FakeEnvoy : IEnvoyRenderer, IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vsc-envoy-");

    public FakeEnvoy(string script)
    {
        Binary = Path.Combine(_folder.FullName, "envoy");
        Write(script);
        Options = new EnvoyOptions
        {
            Binary = Binary,
            ConfigDirectory = _folder.FullName,
            SdsSocket = "sds",
            XdsSocket = "xds",
            AdminPort = 1, // nothing can listen there: the drain call fails at once
            Node = new NodeOptions("sidecar~10.0.0.2~vm1.vm-ns~vm-ns.svc.cluster.local", "vm", "", "", "", [], ["10.0.0.2"]),
            ProxyConfig = new JsonObject(),
        };
    }

    public string Binary { get; }

    public string Folder => _folder.FullName;

    public EnvoyOptions Options { get; set; }

    public IReadOnlyList<string> Arguments { get; set; } = ["-c", "envoy-rev.json"];

    /// <summary>What the executable says against its bootstrap when asked; null: nothing.</summary>
    public string? Objection { get; set; }

    public async Task<(EnvoyCommand? Command, string? Problem)> RenderAsync(CancellationToken stop, int epoch = 0) => File.Exists(Binary)
        ? (new EnvoyCommand(Binary, epoch == 0 ? Arguments : [.. Arguments, "--restart-epoch", $"{epoch}"], [new("FROM_RENDERER", "yes")]) { Inputs = await InputsAsync(stop) }, null)
        : (null, $"{Binary} does not exist");

    public Task<EnvoyInputs> InputsAsync(CancellationToken stop) => Task.FromResult(new EnvoyInputs(EnvoyInputs.Mark(Binary), "", false));

    public Task<string?> ValidateAsync(EnvoyCommand command, CancellationToken stop) => Task.FromResult(Objection);

    public void Write(string script)
    {
        File.WriteAllText(Binary + ".new", "#!/bin/sh\n" + script);
        File.SetUnixFileMode(Binary + ".new", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Move(Binary + ".new", Binary, overwrite: true);
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
