namespace VmSidecar.Wasm;

/// <summary>Why a module cannot be had.</summary>
internal enum ModuleFailure
{
    /// <summary>It cannot be fetched, or what comes is no module.</summary>
    Download,

    /// <summary>Its checksum is another than the filter says.</summary>
    Checksum,

    /// <summary>The image's manifest cannot be had or used.</summary>
    Manifest,
}

/// <summary>A module cannot be had. Stays inside <c>Wasm/</c>: <see cref="WasmModules"/> turns it into a result.</summary>
internal sealed class ModuleException(ModuleFailure failure, string message, Exception? cause = null) : Exception(message, cause)
{
    /// <summary>Which step failed.</summary>
    public ModuleFailure Failure => failure;
}
