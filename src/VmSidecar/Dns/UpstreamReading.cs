using VmSidecar.Linux.Sockets;

namespace VmSidecar.Dns;

/// <summary>The loop that reads the sockets to upstream servers, and the memory it reads into, used on that loop's thread only. Owned by <see cref="UdpService"/>.</summary>
internal sealed class UpstreamReading(ReadyLoop loop) : IDisposable
{
    private const int Slots = 16;
    private const int MaxReply = 65535;

    public ReadyLoop Loop { get; } = loop;

    public DatagramReceiver Receiver { get; } = new(Slots, MaxReply);

    public void Dispose() => Receiver.Dispose();
}

/// <summary>What sockets to upstream servers need.</summary>
/// <param name="Ports">Where their source ports come from.</param>
/// <param name="Reading">Who reads them; null: each reads itself.</param>
/// <param name="Mismatched">Told of an answer that fits no question.</param>
internal sealed record UpstreamMeans(SourcePorts Ports, UpstreamReading? Reading, Action Mismatched);
