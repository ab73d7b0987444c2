namespace VmSidecar.Xds;

/// <summary>
/// Whether large responses are passed on while they arrive. That rests on a guess of their type from their first bytes; a peer whose envelope
/// says something else at the end has it switched off, and costs one stream, not one per push. Owned by the relay.
/// </summary>
internal sealed class CutThrough(int threshold)
{
    private volatile bool _off;

    /// <summary>True for a response of this length, bytes.</summary>
    public bool Takes(int length) => length > threshold && !_off;

    /// <summary>A guess was wrong: from now on responses are gathered before they are passed on.</summary>
    public void SwitchOff() => _off = true;
}
