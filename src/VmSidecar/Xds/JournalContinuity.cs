using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>What an answered response means for what is kept of its type.</summary>
internal enum JournalStep
{
    /// <summary>Nothing: it is not kept.</summary>
    None,

    /// <summary>It continues what is kept.</summary>
    Append,

    /// <summary>It takes the place of what is kept.</summary>
    Replace,
}

/// <summary>
/// Decides per type whether a response continues what is kept or takes its place. A delta response says only what changes, so it counts on top of what Envoy
/// held before and of nothing else: the first one of a stream on which Envoy holds nothing stands for all of its type, as does every SotW response of
/// clusters and listeners. Pure; guarded by its owner, <see cref="ResourceKeeper"/>.
/// </summary>
internal sealed class JournalContinuity
{
    private readonly HashSet<string> _met = new(StringComparer.Ordinal);      // types asked for since the start: before that nobody knows whether the journal tells of this Envoy
    private readonly HashSet<string> _broken = new(StringComparer.Ordinal);   // types that miss a response: nothing continues them
    private readonly HashSet<string> _anew = new(StringComparer.Ordinal);     // types whose next response stands for all
    private readonly HashSet<string> _baseless = new(StringComparer.Ordinal); // that response was refused: what is kept stays, this stream does not continue it

    /// <summary>Types of which nothing kept may be used.</summary>
    public IReadOnlyCollection<string> Broken => _broken;

    /// <summary>
    /// A stream asks for the type for the first time; istiod answers in full (reference 03 section 13), and names what is gone only among what Envoy says it holds.
    /// </summary>
    public void Begins(string type, bool holdsNothing)
    {
        bool unknown = _met.Add(type);
        if (unknown || holdsNothing || _broken.Contains(type)) { _anew.Add(type); }
    }

    /// <summary>A response is on its way to Envoy: true when it stands for all of its type. In the order of the stream.</summary>
    public bool IsBase(XdsMessageKind kind, string type) => _anew.Remove(type) | KeptResources.IsWhole(kind, type);

    /// <summary>Envoy has answered a response that was delivered.</summary>
    public JournalStep Settle(string type, bool isBase, bool accepted)
    {
        if (!accepted)
        {
            if (isBase) { _baseless.Add(type); }
            return JournalStep.None;
        }
        if (isBase)
        {
            _broken.Remove(type);
            _baseless.Remove(type);
            return JournalStep.Replace;
        }
        return _broken.Contains(type) || _baseless.Contains(type) ? JournalStep.None : JournalStep.Append;
    }

    /// <summary>A response was delivered and cannot be kept, or what is kept could not be written.</summary>
    public void Missed(string type)
    {
        _broken.Add(type);
        _anew.Remove(type);
    }

    /// <summary>A response was refused before Envoy saw it.</summary>
    public void Withheld(XdsMessageKind kind, string type) => Settle(type, IsBase(kind, type), accepted: false);

    /// <summary>The stream has ended.</summary>
    public void Forget()
    {
        _anew.Clear();
        _baseless.Clear();
    }
}
