namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>A connection of which the first bytes can be looked at before they are read. Owns the inner stream.</summary>
internal sealed class PeekedStream(Stream inner) : Stream
{
    private byte[] _ahead = [];
    private int _taken;

    /// <summary>Bytes received and not read.</summary>
    public ReadOnlySpan<byte> Ahead => _ahead.AsSpan(_taken);

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>Receives more to look at. False at the end of the stream.</summary>
    public async ValueTask<bool> PeekMoreAsync(CancellationToken stop)
    {
        byte[] more = new byte[4096];
        int read = await inner.ReadAsync(more, stop);
        if (read == 0) { return false; }
        _ahead = [.. Ahead, .. more.AsSpan(0, read)];
        _taken = 0;
        return true;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Ahead.IsEmpty) { return await inner.ReadAsync(buffer, cancellationToken); }
        int count = Math.Min(buffer.Length, Ahead.Length);
        Ahead[..count].CopyTo(buffer.Span);
        _taken += count;
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => inner.WriteAsync(buffer, cancellationToken);

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => inner.WriteAsync(buffer, offset, count, cancellationToken);

    public override void Write(byte[] buffer, int offset, int count) => inner.Write(buffer, offset, count);

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override void Flush() => inner.Flush();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing) { inner.Dispose(); }
        base.Dispose(disposing);
    }
}
