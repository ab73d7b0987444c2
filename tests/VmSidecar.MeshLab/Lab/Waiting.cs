namespace VmSidecar.MeshLab.Lab;

/// <summary>Repeats a look until it shows what is awaited; fails with what was last seen.</summary>
internal static class Waiting
{
    /// <summary>Looks every 100 ms until <paramref name="holds"/> says yes, at most for <paramref name="deadline"/>.</summary>
    public static async Task<T> ForAsync<T>(string what, TimeSpan deadline, Func<Task<T>> look, Func<T, bool> holds, CancellationToken stop)
    {
        long begin = TimeProvider.System.GetTimestamp();
        while (true)
        {
            T seen = await look();
            if (holds(seen)) { return seen; }
            if (TimeProvider.System.GetElapsedTime(begin) > deadline) { throw new LabException($"waited {deadline.TotalSeconds} s for: {what}; last seen: {seen}"); }
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, stop);
        }
    }
}
