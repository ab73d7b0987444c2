using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Dns;

/// <summary>
/// Serves all UDP sockets of the DNS server. In batches where the kernel allows it: one thread (more on large hosts, see <see cref="Threads"/>) reads
/// clients and upstream servers alike, many datagrams a call. Else, or when asked to, portably: asynchronous loops on the thread pool.
/// Stop: <see cref="Close"/>, let what is under way end, <see cref="EndAsync"/>. Owned by <see cref="DnsServer"/>.
/// </summary>
internal sealed class UdpService : IDisposable
{
    public const int Batch = 32; // datagrams a call: beyond that the calls are no longer what costs

    private const int StackSize = 512 * 1024;

    private readonly QueryHandler _handler;
    private readonly Outstanding _outstanding;
    private readonly Action<Exception> _failed;
    private readonly List<Served> _loops = [];

    /// <param name="io">Which way.</param>
    /// <param name="handler">What answers.</param>
    /// <param name="outstanding">Counts the queries under way.</param>
    /// <param name="failed">Told of a bug that ended a loop.</param>
    public UdpService(DnsIo io, QueryHandler handler, Outstanding outstanding, Action<Exception> failed)
    {
        _handler = handler;
        _outstanding = outstanding;
        _failed = failed;
        int threads = io == DnsIo.Portable ? 0 : Threads(Environment.ProcessorCount);
        while (_loops.Count < threads && ReadyLoop.TryCreate() is { } loop) { _loops.Add(new(loop)); }
        if (_loops.Count > 0) { Reading = new(_loops[0].Loop); }
    }

    /// <summary>Who reads upstream sockets; null when they read themselves.</summary>
    public UpstreamReading? Reading { get; }

    /// <summary>
    /// One thread up to four processors, then two: measured, one answers 150,000 queries a second and more from the table, which no host asks; a second one
    /// only helps while the first is busy for long, and costs wake-ups.
    /// </summary>
    public static int Threads(int processors) => processors <= 4 ? 1 : 2;

    /// <summary>Takes a bound socket and returns the loops to run for it. <paramref name="another"/> binds one more to the same address.</summary>
    public IEnumerable<Func<Task>> Serve(Socket socket, Func<Socket> another, CancellationToken stop)
    {
        if (_loops.Count == 0)
        {
            int workers = Math.Clamp(Environment.ProcessorCount, 1, 4);
            return Enumerable.Range(0, workers).Select(_ => (Func<Task>)(() => new UdpWorker(socket, _handler, _outstanding).RunAsync(stop)));
        }
        if (_loops.Count > 1) { DatagramSocket.ShareAddress(socket); }
        for (int i = 0; i < _loops.Count; i++)
        {
            Socket served = i == 0 ? socket : another();
            if (DatagramSocket.IsAny(((IPEndPoint)served.LocalEndPoint!).Address)) { DatagramSocket.TellAddress(served); }
            _loops[i].Workers.Add(new(served, _loops[i].Loop, _loops[i].Receiver, _handler, _outstanding));
        }
        return [];
    }

    /// <summary>Starts the threads. Once, after all sockets were given.</summary>
    public void Start()
    {
        foreach (Served served in _loops) { served.Start(_failed); }
    }

    /// <summary>Takes no more queries.</summary>
    public void Close()
    {
        foreach (UdpLoopWorker worker in _loops.SelectMany(l => l.Workers)) { worker.Close(); }
    }

    /// <summary>Ends the threads and frees their memory; when nothing is under way any more, upstream neither.</summary>
    public async Task EndAsync()
    {
        foreach (Served served in _loops)
        {
            served.Loop.Stop();
            await served.Ended;
        }
        Dispose();
    }

    /// <summary>For a service that was never started; <see cref="EndAsync"/> does it otherwise.</summary>
    public void Dispose()
    {
        foreach (Served served in _loops) { served.Dispose(); }
        Reading?.Dispose();
        _loops.Clear();
    }

    /// <summary>One thread and what it serves.</summary>
    private sealed class Served(ReadyLoop loop) : IDisposable
    {
        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private bool _started;

        public ReadyLoop Loop => loop;

        public DatagramReceiver Receiver { get; } = new(Batch, Answerer.EdnsSize);

        public List<UdpLoopWorker> Workers { get; } = [];

        public Task Ended => _started ? _ended.Task : Task.CompletedTask;

        public void Start(Action<Exception> failed)
        {
            _started = true;
            loop.RoundEnded = Flush;
            new Thread(() => Run(failed), StackSize) { IsBackground = true, Name = "dns" }.Start();
        }

        public void Dispose()
        {
            foreach (UdpLoopWorker worker in Workers) { worker.Dispose(); }
            Receiver.Dispose();
            loop.Dispose();
        }

        private void Flush()
        {
            foreach (UdpLoopWorker worker in Workers) { worker.Flush(); }
        }

        [SuppressMessage("Design", "CA1031", Justification = "a bug must end the component, not only this thread")]
        private void Run(Action<Exception> failed)
        {
            try { loop.Run(); }
            catch (Exception e) { failed(e); }
            finally { _ended.TrySetResult(); }
        }
    }
}
