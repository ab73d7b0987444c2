namespace VmSidecar.Lifecycle;

/// <summary>What the process tells systemd. 78 is EX_CONFIG, 70 EX_SOFTWARE (sysexits.h).</summary>
internal enum ExitCode
{
    /// <summary>Stopped on request.</summary>
    Stopped = 0,

    /// <summary>A fatal condition that a restart may mend (port taken, no Envoy binary).</summary>
    Fatal = 1,

    /// <summary>A bug of ours: an exception nobody named.</summary>
    Bug = 70,

    /// <summary>The operator's configuration is wrong; a restart cannot help.</summary>
    Configuration = 78,

    /// <summary>A command-line helper failed; the classic helpers use 255.</summary>
    CommandFailed = 255,
}
