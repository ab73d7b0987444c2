using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Somebody who waits for upstream's answer.</summary>
internal interface IForwardWaiter
{
    /// <summary>Takes the result, whose message others share: it must not be written to. Called once, on any thread; must not block or throw.</summary>
    void Answered(ForwardResult result);
}

/// <summary>
/// One question on its way upstream, and everybody who waits for it. The first answer counts for all, also for who comes later. Thread-safe.
/// </summary>
/// <param name="key">What makes it equal to others; null: it travels alone.</param>
/// <param name="packet">The query as it came.</param>
/// <param name="query">The same, parsed.</param>
/// <param name="tcp">It came by TCP.</param>
/// <param name="generation">The cache's, before a server was chosen.</param>
internal sealed class QuestionInFlight(byte[]? key, byte[] packet, DnsQuery query, bool tcp, int generation)
{
    private readonly Lock _gate = new();
    private IForwardWaiter? _first; // mostly the only one
    private List<IForwardWaiter>? _more;
    private ForwardResult _result;
    private bool _isAnswered;

    public byte[]? Key => key;

    public byte[] Packet => packet;

    public DnsQuery Query => query;

    public bool Tcp => tcp;

    public int Generation => generation;

    /// <summary>The quick ask it began with, if any.</summary>
    public QuickAsk? Quick { get; set; }

    /// <summary>Adds one who waits; after the answer it is told at once.</summary>
    public void Join(IForwardWaiter waiter)
    {
        lock (_gate)
        {
            if (!_isAnswered)
            {
                if (_first is null) { _first = waiter; }
                else { (_more ??= []).Add(waiter); }
                return;
            }
        }
        waiter.Answered(_result);
    }

    /// <summary>Tells all who wait; a second answer changes nothing.</summary>
    public void Answer(ForwardResult result)
    {
        lock (_gate)
        {
            if (_isAnswered) { return; }
            _isAnswered = true;
            _result = result;
        }
        _first?.Answered(result);
        foreach (IForwardWaiter waiter in _more ?? []) { waiter.Answered(result); }
    }
}

/// <summary>Waits as a task.</summary>
internal sealed class TaskWaiter : IForwardWaiter
{
    private readonly TaskCompletionSource<ForwardResult> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task<ForwardResult> Task => _done.Task;

    public void Answered(ForwardResult result) => _done.TrySetResult(result);
}

/// <summary>Waits for nothing: the question is asked for the cache's sake.</summary>
internal sealed class NoWaiter : IForwardWaiter
{
    public static readonly NoWaiter Instance = new();

    public void Answered(ForwardResult result) { }
}
