using System.Collections.Concurrent;

namespace VmSidecar.TestKit.Istiod.Faults;

/// <summary>Which faults ADS streams meet, and where. Thread-safe.</summary>
internal sealed class AdsFaults
{
    private readonly ConcurrentDictionary<string, ConcurrentQueue<AdsFault>> _onAnswer = new(StringComparer.Ordinal);
    private readonly ConcurrentQueue<AdsFault> _onOpen = new();

    /// <summary>Every stream meets this before anything else, while set.</summary>
    public AdsFault? AlwaysOnOpen { get; set; }

    /// <summary>The next stream meets this before authentication.</summary>
    public void OnOpen(AdsFault fault) => _onOpen.Enqueue(fault);

    /// <summary>The next answer of a type (short name) meets this.</summary>
    public void OnAnswer(string type, AdsFault fault) => _onAnswer.GetOrAdd(type, _ => new()).Enqueue(fault);

    public void Clear()
    {
        _onAnswer.Clear();
        _onOpen.Clear();
        AlwaysOnOpen = null;
    }

    internal AdsFault? TakeOpen() => _onOpen.TryDequeue(out AdsFault? fault) ? fault : AlwaysOnOpen;

    internal AdsFault? TakeAnswer(string type) => _onAnswer.TryGetValue(type, out ConcurrentQueue<AdsFault>? queue) && queue.TryDequeue(out AdsFault? fault) ? fault : null;
}
