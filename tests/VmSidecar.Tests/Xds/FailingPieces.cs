using VmSidecar.Grpc;

namespace VmSidecar.Tests.Xds;

/// <summary>A message that is long in the writing, and then cannot be written.</summary>
internal sealed class FailingPieces : IPieces
{
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _takenUp, _disposed;

    public bool IsTakenUp => _takenUp;

    public bool IsDisposed => _disposed;

    public int Length => 10;

    public Task Ready
    {
        get
        {
            _takenUp = true;
            return _ready.Task;
        }
    }

    public IEnumerable<ReadOnlyMemory<byte>> Pieces => throw new IOException("no space left on device");

    public void Fail() => _ready.SetException(new IOException("no space left on device"));

    public void Dispose() => _disposed = true;
}
