using System.Security.Cryptography.X509Certificates;
using System.Threading.Channels;

using VmSidecar.Grpc;
using VmSidecar.Linux.Processes;

namespace VmSidecar.TestKit.Grpc;

/// <summary>
/// Both ends of one call in memory, with a window of a few messages each way, so that a reader that does not read throttles its writer. One message at a
/// time each way: two writers at once are a bug, as on a real stream.
/// </summary>
internal sealed class PairedCall
{
    private readonly Channel<byte[]> _up, _down;
    private readonly CancellationTokenSource _clientGone = new();
    private readonly TaskCompletionSource _gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _leaving = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<GrpcStatus> _status = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public PairedCall(string method, int window = 4)
    {
        Method = method;
        _up = Channel.CreateBounded<byte[]>(window);
        _down = Channel.CreateBounded<byte[]>(window);
        _clientGone.Token.Register(() => _gone.TrySetResult());
        Client = new ClientEnd(this);
        Server = new ServerEnd(this);
    }

    public string Method { get; }

    public IGrpcClientCall Client { get; }

    public IGrpcServerCall Server { get; }

    /// <summary>The process the client is said to be; unknown unless set before the call is served.</summary>
    public PeerProcess Process { get; init; }

    /// <summary>Fires when the client has gone: what a server's handler gets.</summary>
    public CancellationToken ClientGone => _clientGone.Token;

    /// <summary>Ends when the client has gone.</summary>
    public Task Gone => _gone.Task;

    /// <summary>The call ends within a message: the client gets so many bytes of those it reads in pieces.</summary>
    public int CutAfter { get; set; } = int.MaxValue;

    /// <summary>Runs before each piece the client gets of a message it reads in pieces.</summary>
    public Func<Task> BeforePiece { get; set; } = () => Task.CompletedTask;

    /// <summary>In how many pieces the server has sent what it sent in pieces.</summary>
    public int PiecesSent { get; private set; }

    /// <summary>The server says that it closes the connection in order.</summary>
    public void Leave() => _leaving.TrySetResult();

    /// <summary>The client is gone, and what is written to it shows that first: reading from it does not end before it is disposed.</summary>
    public void FailWrites() => _down.Writer.TryComplete();

    /// <summary>Messages of the client's that the server has not read.</summary>
    public int Waiting => _up.Reader.Count;

    /// <summary>Ends when the server has ended the call.</summary>
    public Task<GrpcStatus> Ended => _status.Task;

    /// <summary>What the server's handler returning does.</summary>
    public void End(GrpcStatus status)
    {
        _status.TrySetResult(status);
        _down.Writer.TryComplete();
        _up.Writer.TryComplete();
    }

    private sealed class ClientEnd(PairedCall call) : IGrpcClientCall
    {
        private bool _ended;
        private byte[]? _begun;
        private int _taken;
        private int _pieces;
        private int _sending;

        public GrpcStatus Status => _ended ? call._status.Task.Result : throw new InvalidOperationException("the call has not ended");

        public bool EndedGracefully => false;

        public Task PeerLeaves => call._leaving.Task;

        public async ValueTask<int> BeginReadAsync(CancellationToken stop)
        {
            try
            {
                _begun ??= await call._down.Reader.ReadAsync(stop);
                return _begun.Length;
            }
            catch (ChannelClosedException)
            {
                await call._status.Task;
                _ended = true;
                return -1;
            }
        }

        public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
        {
            if (await BeginReadAsync(stop) < 0) { return null; }
            GrpcMessage message = GrpcMessage.Copy(_begun);
            _begun = null;
            return message;
        }

        public async ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop)
        {
            await Task.Yield(); // as the bytes of a large message come: not all at once
            await call.BeforePiece();
            if (_taken >= call.CutAfter)
            {
                await call._status.Task.WaitAsync(stop);
                _ended = true;
                return 0;
            }
            int length = Math.Min(Math.Min(buffer.Length, _begun!.Length - _taken), 1 + (int)(_pieces++ * 7919L % 5000)); // sizes of no pattern
            _begun.AsSpan(_taken, length).CopyTo(buffer.Span);
            _taken += length;
            if (_taken == _begun.Length) { (_begun, _taken) = (null, 0); }
            return length;
        }

        public async ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop)
        {
            if (Interlocked.Exchange(ref _sending, 1) == 1) { throw new InvalidOperationException("a message is sent while another one is"); }
            try { await call._up.Writer.WriteAsync(message.ToArray(), stop); }
            catch (ChannelClosedException) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Unknown, "EOF")); }
            finally { _sending = 0; }
        }

        public ValueTask CompleteAsync(CancellationToken stop)
        {
            call._up.Writer.TryComplete();
            return ValueTask.CompletedTask;
        }

        public async ValueTask DisposeAsync()
        {
            call._status.TrySetResult(new GrpcStatus(GrpcStatusCode.Cancelled, "disposed"));
            call._up.Writer.TryComplete();
            call._down.Writer.TryComplete();
            await call._clientGone.CancelAsync();
        }
    }

    private sealed class ServerEnd(PairedCall call) : IGrpcServerCall
    {
        private byte[] _message = [];
        private int _filled;

        public string Method => call.Method;

        public X509Certificate2? ClientCertificate => null;

        public string Peer => "";

        public PeerProcess Process => call.Process;

        public string? Metadata(string name) => null;

        public IReadOnlyList<string> MetadataAll(string name) => [];

        public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
        {
            try { return GrpcMessage.Copy(await call._up.Reader.ReadAsync(stop)); }
            catch (ChannelClosedException) when (call._clientGone.IsCancellationRequested) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Cancelled, "the client has gone")); }
            catch (ChannelClosedException) { return null; }
        }

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop) =>
            _filled < _message.Length ? throw new InvalidOperationException("a message is sent within another one") : SendWholeAsync(message, stop);

        private async ValueTask SendWholeAsync(ReadOnlyMemory<byte> message, CancellationToken stop)
        {
            try { await call._down.Writer.WriteAsync(message.ToArray(), stop); }
            catch (ChannelClosedException) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Cancelled, "the client has gone")); }
        }

        public ValueTask BeginSendAsync(int length, CancellationToken stop)
        {
            if (_filled < _message.Length) { throw new InvalidOperationException("a message is begun within another one"); }
            _message = new byte[length];
            _filled = 0;
            return length == 0 ? SendWholeAsync(_message, stop) : ValueTask.CompletedTask;
        }

        public async ValueTask SendPieceAsync(ReadOnlyMemory<byte> piece, CancellationToken stop)
        {
            piece.Span.CopyTo(_message.AsSpan(_filled));
            _filled += piece.Length;
            call.PiecesSent++;
            if (_filled == _message.Length && _filled > 0) { await SendWholeAsync(_message, stop); }
        }

        public void Abandon()
        {
            call.End(new GrpcStatus(GrpcStatusCode.Internal, "stream terminated by RST_STREAM"));
            call._clientGone.Cancel(); // as Kestrel: the handler's own token fires
        }
    }
}
