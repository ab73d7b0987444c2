using System.Threading.Channels;

using Microsoft.Extensions.Logging;

using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;

namespace VmSidecar.Envoy;

/// <summary>
/// Carries Envoy's output into the log without ever stalling Envoy, whose main thread writes to stderr and blocks on a full pipe.
/// A thread per Envoy process (<see cref="EnvoyOutput"/>) reads both pipes and cuts lines; a bounded queue joins it to one loop that calls the sink. A slow
/// disk fills the queue, then lines are counted instead of kept. Owned by EnvoySupervisor.
/// </summary>
internal sealed class EnvoyLogPump : IAsyncDisposable
{
    private const int MaxLines = 8192; // queue bound, lines
    private const long MaxBytes = 8 * 1024 * 1024; // queue bound, bytes: some of Envoy's lines carry a whole rejected listener

    // Full: TryWrite says no and the line is counted. The reader never waits, so the two cannot deadlock.
    private readonly Channel<byte[]> _queue = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(MaxLines) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });
    private readonly EnvoyLineSink _sink;
    private readonly ILogger _log;
    private readonly Counter _dropped;
    private readonly Task _writing;
    private long _queuedBytes;
    private long _droppedSinceNote;

    public EnvoyLogPump(EnvoyLineSink sink, MetricRegistry metrics, ILogger log)
    {
        _sink = sink;
        _log = log;
        _dropped = metrics.Counter("envoy_log_lines_dropped_total", "Lines of Envoy's output that the log could not take in time.");
        _writing = WriteAsync();
    }

    /// <summary>Reads both pipes of <paramref name="child"/> until they end or are handed on. <paramref name="words"/> holds what was said last.</summary>
    /// <param name="child">Whose.</param>
    /// <param name="words">Gets the lines of stderr.</param>
    /// <param name="before">What an earlier agent has read of lines that have not ended.</param>
    public EnvoyOutput Attach(ChildProcess child, LastWords words, HalfLines before = default) => new(child, Enqueue, words, before);

    /// <summary>Writes what is queued, then ends.</summary>
    public async ValueTask DisposeAsync()
    {
        _queue.Writer.TryComplete();
        await _writing;
    }

    private void Enqueue(ReadOnlySpan<byte> line)
    {
        if (Interlocked.Read(ref _queuedBytes) + line.Length <= MaxBytes)
        {
            Interlocked.Add(ref _queuedBytes, line.Length);
            if (_queue.Writer.TryWrite(line.ToArray())) { return; }
            Interlocked.Add(ref _queuedBytes, -line.Length);
        }
        _dropped.Add();
        Interlocked.Increment(ref _droppedSinceNote);
    }

    private async Task WriteAsync()
    {
        await foreach (byte[] line in _queue.Reader.ReadAllAsync(CancellationToken.None))
        {
            Interlocked.Add(ref _queuedBytes, -line.Length);
            _sink(line);
            // said where the queue has emptied, so that the note itself is not lost
            if (_queue.Reader.Count == 0 && Interlocked.Exchange(ref _droppedSinceNote, 0) is > 0 and var lost) { EnvoyLog.LinesDropped(_log, lost); }
        }
    }
}
