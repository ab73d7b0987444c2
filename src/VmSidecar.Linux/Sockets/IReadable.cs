namespace VmSidecar.Linux.Sockets;

/// <summary>What a <see cref="ReadyLoop"/> tells that its socket has something to read.</summary>
internal interface IReadable
{
    /// <summary>Reads some of what waits, without blocking; called again while more does. Runs on the loop's thread; must not throw.</summary>
    void Ready();
}
