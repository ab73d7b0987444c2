namespace VmSidecar.TestKit;

/// <summary>What all tests share.</summary>
internal static class Test
{
    /// <summary>Real time after which an awaited event counts as missing. Generous: the machine is shared; no test asserts speed.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);
}
