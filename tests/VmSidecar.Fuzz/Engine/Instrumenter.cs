namespace VmSidecar.Fuzz.Engine;

/// <summary>Rewrites the assemblies under test in a folder, so that they report the branches they take.</summary>
internal static class Instrumenter
{
    public static readonly string[] Assemblies = ["vmsidecar.dll", "VmSidecar.Wire.dll"];

    /// <summary>False where this build has no means to.</summary>
    public static bool TryRewrite(string folder)
    {
#if COVERAGE
        foreach (string assembly in Assemblies) { SharpFuzz.Fuzzer.Instrument(Path.Combine(folder, assembly), _ => true, SharpFuzz.Options.Value); }
        return true;
#else
        return folder.Length == 0;
#endif
    }
}
