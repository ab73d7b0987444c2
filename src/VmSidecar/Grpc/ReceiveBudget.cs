namespace VmSidecar.Grpc;

/// <summary>
/// Bytes that the calls of many clients may hold together: what has arrived of messages that are not whole yet, and messages that whoever read them has not let go of. A message
/// costs at least what it takes to be there at all, and so does a call: neither empty messages nor silent calls are free. Any thread.
/// </summary>
/// <param name="most">Bytes.</param>
internal sealed class ReceiveBudget(long most)
{
    /// <summary>What a call costs as long as it is open, bytes: its state here and in Kestrel.</summary>
    public const int PerCall = 16 * 1024;

    /// <summary>What a message costs beside its content, bytes.</summary>
    public const int PerMessage = 256;

    private long _held;

    /// <summary>Bytes taken and not returned.</summary>
    public long Held => Interlocked.Read(ref _held);

    /// <summary>Takes bytes, which <see cref="Return"/> gives back. Throws <see cref="GrpcException"/> (RESOURCE_EXHAUSTED) when there are not so many left: the call must end.</summary>
    public void Take(long bytes)
    {
        long held = Interlocked.Add(ref _held, bytes);
        if (held <= most) { return; }
        Return(bytes);
        throw new GrpcException(new GrpcStatus(GrpcStatusCode.ResourceExhausted, $"the requests of all local clients hold {held - bytes} bytes together and may hold {most}; try again later"));
    }

    /// <summary>Gives bytes back.</summary>
    public void Return(long bytes) => Interlocked.Add(ref _held, -bytes);
}
