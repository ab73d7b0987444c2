namespace VmSidecar.Envoy;

/// <summary>What a start of Envoy is made from and what may change while it runs. Two of them are equal when a new start would give the same Envoy.</summary>
/// <param name="Executable">Path behind all links, length and time of the executable; empty where there is none.</param>
/// <param name="Bootstrap">The same of customConfigFile; empty where the bootstrap is generated.</param>
/// <param name="Delta">istiod speaks the delta protocol.</param>
internal readonly record struct EnvoyInputs(string Executable, string Bootstrap, bool Delta)
{
    /// <summary>Hash of the arguments and of the bootstrap as this agent writes them; empty before the first was written.</summary>
    public string Settings { get; init; } = "";

    /// <summary>What differs from <paramref name="before"/>, in words.</summary>
    public string Difference(EnvoyInputs before) =>
        Executable != before.Executable ? "Envoy's executable has changed"
        : Bootstrap != before.Bootstrap ? "customConfigFile has changed"
        : Delta != before.Delta ? "istiod speaks another protocol now"
        : "the settings of Envoy, or how this version of the agent renders them, have changed";

    /// <summary>The mark of a file; empty where there is none or it cannot be looked at.</summary>
    public static string Mark(string? path)
    {
        if (string.IsNullOrEmpty(path)) { return ""; }
        try
        {
            var file = new FileInfo(path);
            FileSystemInfo real = file.ResolveLinkTarget(returnFinalTarget: true) ?? file;
            return real is FileInfo { Exists: true } found ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{found.FullName} {found.Length} {found.LastWriteTimeUtc.Ticks}") : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return ""; }
    }
}
