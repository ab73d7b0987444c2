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

    private readonly Dictionary<string, int> _bases = new(StringComparer.Ordinal); // accepted since the start, by type

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
            _bases[type] = Bases(type) + 1;
            return JournalStep.Replace;
        }
        return _broken.Contains(type) || _baseless.Contains(type) ? JournalStep.None : JournalStep.Append;
    }

    /// <summary>How many responses that stand for all of the type were accepted.</summary>
    public int Bases(string type) => _bases.GetValueOrDefault(type);

    /// <summary>
    /// What is kept could not be written. <paramref name="bases"/>: <see cref="Bases"/> when that was taken up; one accepted since takes the place of all of it.
    /// </summary>
    public void Unwritten(string type, int bases)
    {
        if (bases == Bases(type)) { _broken.Add(type); }
    }

    /// <summary>A response was delivered and cannot be kept.</summary>
    public void Missed(string type)
    {
        _broken.Add(type);
        _anew.Remove(type);
    }

    /// <summary>A response was refused before Envoy saw it.</summary>
    public void Withheld(XdsMessageKind kind, string type) => Settle(type, IsBase(kind, type), accepted: false);

    /// <summary>
    /// The stream has ended. <paramref name="unanswered"/>: types whose first response was delivered and never answered. Of these, and of those that never came
    /// or were refused, nobody knows what Envoy holds by now: the journal tells of what it held before.
    /// </summary>
    public void Forget(IEnumerable<string> unanswered)
    {
        _met.ExceptWith(_anew);
        _met.ExceptWith(_baseless);
        _met.ExceptWith(unanswered);
        _anew.Clear();
        _baseless.Clear();
    }
}
