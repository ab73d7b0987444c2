namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>The pushes a stream still has to make, merged into one: many writers, one reader. Holds at most one set of types.</summary>
internal sealed class PushNote
{
    private readonly Lock _gate = new();
    private HashSet<string>? _types = [];
    private TaskCompletionSource _waiting = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ends when there is something to push.</summary>
    public Task Waiting { get { lock (_gate) { return _waiting.Task; } } }

    /// <summary>Null: all types.</summary>
    public void Add(IReadOnlyCollection<string>? types)
    {
        lock (_gate)
        {
            if (types is null) { _types = null; }
            else { _types?.UnionWith(types); }
            _waiting.TrySetResult();
        }
    }

    /// <summary>Takes the merged note; null: all types.</summary>
    public IReadOnlyCollection<string>? Take()
    {
        lock (_gate)
        {
            HashSet<string>? taken = _types;
            _types = [];
            _waiting = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return taken;
        }
    }
}
