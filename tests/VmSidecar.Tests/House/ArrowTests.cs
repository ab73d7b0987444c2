using Xunit;

namespace VmSidecar.Tests.House;

/// <summary>Which folder of the daemon may know which: the arrows of the architecture, enforced.</summary>
public sealed class ArrowTests
{
    private static readonly string[] Ground = ["Lifecycle", "Configuration", "Grpc", "Metrics", "Logging"];

    /// <summary>What a component folder may use beyond the ground, because it exchanges these types.</summary>
    private static readonly Dictionary<string, string[]> Allowed = new(StringComparer.Ordinal)
    {
        ["Lifecycle"] = [],
        ["Configuration"] = ["Logging", "Lifecycle"],
        ["Logging"] = ["Configuration"],
        ["Metrics"] = [],
        ["Grpc"] = ["Lifecycle"],
        ["Identity"] = Ground,
        ["Sds"] = [.. Ground, "Identity"],
        ["Xds"] = [.. Ground, "Identity", "Dns", "Health", "Wasm"],
        ["Wasm"] = Ground,
        ["Dns"] = Ground,
        ["Iptables"] = Ground,
        ["Envoy"] = Ground,
        ["Health"] = [.. Ground, "Envoy"],
        ["Status"] = [.. Ground, "Envoy", "Health"],
    };

    [Fact]
    public void Folders_only_know_what_the_architecture_allows()
    {
        List<string> findings = [];
        foreach ((string path, string[] lines) in Repository.Sources("src/VmSidecar"))
        {
            string[] parts = path.Split('/');
            if (parts.Length < 4 || !Allowed.TryGetValue(parts[2], out string[]? allowed)) { continue; }
            for (int i = 0; i < lines.Length; i++)
            {
                if (!lines[i].StartsWith("using VmSidecar.", StringComparison.Ordinal)) { continue; }
                string target = lines[i]["using VmSidecar.".Length..].TrimEnd(';').Split('.')[0];
                if (target is "Wire" or "Linux" or "Proto" || target == parts[2] || allowed.Contains(target)) { continue; }
                findings.Add($"{path}:{i + 1}: {parts[2]} must not know {target}");
            }
        }
        Assert.True(findings.Count == 0, string.Join('\n', findings));
    }

    [Fact]
    public void The_codecs_do_no_io() => Assert.Empty(
        from file in Repository.Sources("src/VmSidecar.Wire")
        from line in file.Lines
        where line.StartsWith("using System.Net.Sockets", StringComparison.Ordinal) || line.StartsWith("using System.IO", StringComparison.Ordinal) || line.Contains("TimeProvider", StringComparison.Ordinal)
        select $"{file.Path}: {line.Trim()}");
}
