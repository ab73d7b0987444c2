using System.Threading.Channels;

using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Requests on their way to istiod, in order. Writers: the loop that reads Envoy, the tap and the health loop; reader: the one
/// loop that sends. Writing never waits: a bounded queue here and HTTP/2 windows on both sides dead-lock Envoy, agent and istiod
/// (each waits for the other to read). Instead the bytes are bounded: past <see cref="Limit"/> the stream ends, which is honest and
/// heals itself, whereas dropping or merging requests would change what istiod sees.
/// </summary>
internal sealed class RequestQueue
{
    /// <summary>Bytes that may wait. Envoy's largest burst (all subscriptions of a mesh with 100,000 names of 100 bytes) is a third of it; one message above it still passes when it is alone.</summary>
    public const long Limit = 32L * 1024 * 1024;

    private readonly Channel<Entry> _entries = Channel.CreateUnbounded<Entry>(new UnboundedChannelOptions { SingleReader = true });
    private long _waiting;

    /// <summary>Bytes that wait now.</summary>
    public long Waiting => Interlocked.Read(ref _waiting);

    /// <summary>Takes ownership of the message. False when too much waits already: the caller ends the stream.</summary>
    public bool TryAdd(GrpcMessage message, XdsEnvelope envelope)
    {
        int length = message.Length; // once it is in the queue, the reader may free it at any time
        if (Waiting > Limit)
        {
            message.Dispose();
            return false;
        }
        Interlocked.Add(ref _waiting, length);
        if (!_entries.Writer.TryWrite(new Entry(message, envelope)))
        {
            Interlocked.Add(ref _waiting, -length);
            message.Dispose();
            return false;
        }
        return true;
    }

    /// <summary>The next entry; the caller owns its message. Null when nothing more comes.</summary>
    public async ValueTask<Entry?> TakeAsync(CancellationToken stop)
    {
        if (!await _entries.Reader.WaitToReadAsync(stop) || !_entries.Reader.TryRead(out Entry entry)) { return null; }
        Interlocked.Add(ref _waiting, -entry.Message.Length);
        return entry;
    }

    /// <summary>Takes nothing more; what waits is still sent.</summary>
    public void Complete()
    {
        IsComplete = true;
        _entries.Writer.TryComplete();
    }

    /// <summary>True after <see cref="Complete"/>.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Takes nothing more and frees what waits. After every loop has ended.</summary>
    public void Close()
    {
        _entries.Writer.TryComplete();
        while (_entries.Reader.TryRead(out Entry entry)) { entry.Message.Dispose(); }
    }

    /// <summary>One request and its envelope.</summary>
    public readonly record struct Entry(GrpcMessage Message, XdsEnvelope Envelope);
}
