namespace VmSidecar.Wasm;

/// <summary>One module that a filter asks for.</summary>
/// <param name="Filter">Name of the filter: what it used before is not needed any more.</param>
/// <param name="Uri"><c>http</c>, <c>https</c> or <c>oci</c>.</param>
/// <param name="Sha256">Of the module, or of the image's manifest; lower-case hexadecimal; empty: anything.</param>
/// <param name="Timeout">For the whole fetch; zero: five seconds.</param>
internal sealed record WasmModuleRequest(string Filter, string Uri, string Sha256, TimeSpan Timeout)
{
    /// <summary>Docker's configuration JSON with credentials for the registry; empty: none. Never logged.</summary>
    public string PullSecret { get; init; } = "";

    /// <summary><c>Always</c>, <c>IfNotPresent</c>, or empty: IfNotPresent, except for the tag latest.</summary>
    public string PullPolicy { get; init; } = "";

    /// <summary>Version of the WasmPlugin; with Always, a module is fetched again when it changes.</summary>
    public string Version { get; init; } = "";
}

/// <summary>What came of it: a file, or why there is none.</summary>
/// <param name="File">Absolute path of the module; null when there is none.</param>
/// <param name="Error">Why, in one line; empty when there is a file.</param>
internal sealed record WasmModuleResult(string? File, string Error);

/// <summary>Gives modules as local files.</summary>
internal interface IWasmModules
{
    /// <summary>The module, from the disk or over the network. Throws only for <paramref name="stop"/>.</summary>
    Task<WasmModuleResult> GetAsync(WasmModuleRequest request, CancellationToken stop);
}
