using Microsoft.Extensions.Logging;

namespace VmSidecar.Xds;

/// <summary>What the loop of a <see cref="ResourceKeeper"/> waits for, and how long others wait for it.</summary>
internal static class KeeperWaits
{
    /// <summary>What a stop grants the disk: a second is long for one that is well, and a host that shuts down has others to wait for.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(2);

    /// <summary>Returns when the task has ended, or after a time; throws <see cref="OperationCanceledException"/> when stopped.</summary>
    public static async Task EitherAsync(Task moved, TimeSpan atMost, TimeProvider time, CancellationToken stop)
    {
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAny(moved, Task.Delay(atMost, time, timer.Token));
        await timer.CancelAsync();
        stop.ThrowIfCancellationRequested();
    }

    /// <summary>
    /// Waits for the loop, which has been stopped, to write what was accepted, and frees what it holds. A disk that does not answer within <see cref="Grace"/> is not waited for: that is
    /// said, the rest is not written any more, and what the loop holds is freed when the kernel lets go of it.
    /// </summary>
    public static async Task EndAsync(ResourceKeeper keeper, Task loop, TimeProvider time, ILogger log)
    {
        try { await loop.WaitAsync(Grace, time); }
        catch (TimeoutException)
        {
            XdsLog.DiskHangs(log, keeper.Folder, $"{Grace.TotalSeconds:0}");
            keeper.Abandon();
            _ = FreeAsync();
            return;
        }
        keeper.Dispose();

        async Task FreeAsync()
        {
            await loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            keeper.Dispose();
        }
    }
}
