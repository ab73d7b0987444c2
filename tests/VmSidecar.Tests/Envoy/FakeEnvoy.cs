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

    public Task<(EnvoyCommand? Command, string? Problem)> RenderAsync(CancellationToken stop) => Task.FromResult<(EnvoyCommand?, string?)>(
        File.Exists(Binary) ? (new EnvoyCommand(Binary, Arguments, [new("FROM_RENDERER", "yes")]), null) : (null, $"{Binary} does not exist"));

    public void Write(string script)
    {
        File.WriteAllText(Binary + ".new", "#!/bin/sh\n" + script);
        File.SetUnixFileMode(Binary + ".new", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Move(Binary + ".new", Binary, overwrite: true);
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
