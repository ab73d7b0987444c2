using Microsoft.Extensions.Logging;

namespace VmSidecar.Wasm;

/// <summary>Log lines of module fetching (scope wasm). No address is logged with its query: it may hold a signature.</summary>
internal static partial class WasmLog
{
    [LoggerMessage(1, LogLevel.Information, "fetched the Wasm module of {Filter} from {Uri}\tbytes={Bytes} took={Took}")]
    public static partial void Fetched(ILogger log, string filter, string uri, long bytes, string took);

    [LoggerMessage(2, LogLevel.Error, "cannot fetch the Wasm module of {Filter} from {Uri}: {Error}")]
    public static partial void Failed(ILogger log, string filter, string uri, string error);

    [LoggerMessage(3, LogLevel.Debug, "the Wasm module of {Filter} is on disk already: {File}")]
    public static partial void Hit(ILogger log, string filter, string file);

    [LoggerMessage(4, LogLevel.Debug, "deleted {File}: no filter used it for {Age}")]
    public static partial void Purged(ILogger log, string file, string age);

    [LoggerMessage(5, LogLevel.Warning, "cannot purge {Directory}: {Error}")]
    public static partial void CannotPurge(ILogger log, string directory, string error);
}
