namespace VmSidecar.TestKit;

/// <summary>What all tests share.</summary>
internal static class Test
{
    /// <summary>Real time after which an awaited event counts as missing. Generous: the machine is shared; no test asserts speed.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);

    /// <summary>Waits for what nobody announces: the state of another process, a recorded list. Fails at the deadline.</summary>
    public static async Task UntilAsync(Func<bool> holds)
    {
        using var limit = new CancellationTokenSource(Deadline);
        while (!holds()) { await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, limit.Token); }
    }
}
