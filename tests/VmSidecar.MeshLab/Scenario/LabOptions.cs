namespace VmSidecar.MeshLab.Scenario;

/// <summary>What the lab was started with.</summary>
/// <param name="VmSidecar">The native agent binary under test.</param>
/// <param name="MiniEnvoy">Folder of the built test data plane.</param>
/// <param name="EnvoyPath">A real Envoy (ENVOY_PATH, or <c>envoy</c> on PATH), or null: the test data plane.</param>
/// <param name="Once">Run the steps, take everything down, exit.</param>
/// <param name="Figures">Also measure start, readiness and memory.</param>
/// <param name="Istio">Version istiod's double plays: 1.10 (SotW, virtual IPs counted) or 1.31 (delta, virtual IPs hashed).</param>
internal sealed record LabOptions(string VmSidecar, string MiniEnvoy, string? EnvoyPath, bool Once, bool Figures, string Istio)
{
    /// <summary>Reads <c>run</c>'s arguments; throws with what is wrong.</summary>
    public static LabOptions Parse(string[] args)
    {
        string? binary = null, miniEnvoy = null;
        bool once = false, figures = false;
        string istio = "1.10";
        for (int i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--vmsidecar" when i + 1 < args.Length: binary = args[++i]; break;
                case "--mini-envoy" when i + 1 < args.Length: miniEnvoy = args[++i]; break;
                case "--istio" when i + 1 < args.Length && args[i + 1] is "1.10" or "1.31": istio = args[++i]; break;
                case "--once": once = true; break;
                case "--figures": figures = true; break;
                default: throw new Lab.LabException($"unknown argument '{args[i]}'; run takes --once, --figures and --istio 1.10|1.31");
            }
        }
        if (binary is null || !File.Exists(binary)) { throw new Lab.LabException($"no agent binary at '{binary}'; ./build.sh publish makes it"); }
        if (miniEnvoy is null || !Directory.Exists(miniEnvoy)) { throw new Lab.LabException($"no test data plane at '{miniEnvoy}'; ./build.sh run builds it"); }
        return new LabOptions(binary, miniEnvoy, FindEnvoy(), once, figures, istio);
    }

    private static string? FindEnvoy()
    {
        string? named = Environment.GetEnvironmentVariables()["ENVOY_PATH"] as string;
        if (!string.IsNullOrEmpty(named)) { return File.Exists(named) ? named : throw new Lab.LabException($"ENVOY_PATH={named} does not exist"); }
        string path = Environment.GetEnvironmentVariables()["PATH"] as string ?? "";
        return path.Split(':').Select(folder => Path.Combine(folder, "envoy")).FirstOrDefault(File.Exists);
    }
}
