using System.Threading.Channels;

using VmSidecar.Grpc;
using VmSidecar.Xds;

namespace VmSidecar.TestKit.Grpc;

/// <summary>Gives the relay in-memory streams and the test their other ends, in the order opened.</summary>
internal sealed class ScriptedDialer : IIstiodDialer
{
    private readonly Channel<PairedCall> _opened = Channel.CreateUnbounded<PairedCall>();
    private readonly Lock _gate = new();
    private readonly List<PairedCall> _open = [];

    public string Address => "istiod.istio-system.svc:15012";

    /// <summary>When set, dialling fails with it.</summary>
    public GrpcStatus? Refuse { get; set; }

    /// <summary>The delta method is answered with UNIMPLEMENTED, as istiod 1.10 does.</summary>
    public bool SotwOnly { get; set; }

    /// <summary>Messages each way before a writer waits.</summary>
    public int Window { get; set; } = 4;

    /// <summary>How many dials were tried.</summary>
    public int Dials { get; private set; }

    /// <summary>Streams that neither side has ended.</summary>
    public IReadOnlyList<PairedCall> Open
    {
        get { lock (_gate) { return [.. _open.Where(c => !c.ClientGone.IsCancellationRequested && !c.Ended.IsCompleted)]; } }
    }

    public async Task<IGrpcClientCall> OpenAsync(string method, CancellationToken stop)
    {
        await Task.Yield();
        lock (_gate) { Dials++; }
        if (Refuse is { } status) { throw new GrpcException(status); }
        var call = new PairedCall(method, Window);
        if (SotwOnly && method == XdsMessages.DeltaMethod)
        {
            call.End(new GrpcStatus(GrpcStatusCode.Unimplemented, "not implemented"));
            return call.Client;
        }
        lock (_gate) { _open.Add(call); }
        _opened.Writer.TryWrite(call);
        return call.Client;
    }

    /// <summary>The next stream the relay opens.</summary>
    public async Task<PairedCall> NextAsync() => await _opened.Reader.ReadAsync().AsTask().WaitAsync(Test.Deadline);
}
