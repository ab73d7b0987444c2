using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>
/// A scripted upstream on UDP and TCP of one loopback port. The script gets the query and the transport, and returns the replies to send; none is
/// silence: a connection then stays open, unless <c>closesTcp</c> says that this server ends it.
/// </summary>
internal sealed class FakeUpstream : IAsyncDisposable
{
    private readonly Socket _udp, _tcp;
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<byte[], bool, IEnumerable<byte[]>> _script;
    private readonly bool _closesTcp;
    private readonly Task _loops;
    private readonly SemaphoreSlim _asked = new(0);

    public FakeUpstream(Func<byte[], bool, IEnumerable<byte[]>> script, IPAddress? address = null, bool closesTcp = false, int port = 0)
    {
        _script = script;
        _closesTcp = closesTcp;
        (_udp, _tcp) = Bind(address ?? IPAddress.Loopback, port);
        _tcp.Listen();
        Endpoint = (IPEndPoint)_udp.LocalEndPoint!;
        _loops = Task.WhenAll(UdpAsync(), TcpAsync());
    }

    public IPEndPoint Endpoint { get; }

    /// <summary>Every query seen, with the sender's port.</summary>
    public ConcurrentQueue<(byte[] Query, bool Tcp, int Port)> Seen { get; } = new();

    public int Count => Seen.Count;

    /// <summary>Answers every question with one address.</summary>
    public static FakeUpstream Answering(string address, uint ttl = 60) => new((query, _) => [DnsMessages.Reply(query, 0, ttl, TypeOf(query) == DnsType.A ? [address] : [])]);

    public static FakeUpstream Failing(int rcode) => new((query, _) => [DnsMessages.Reply(query, rcode)]);

    public static FakeUpstream Silent() => new((_, _) => []);

    public static ushort TypeOf(byte[] query)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        return parsed.Question.Type;
    }

    /// <summary>Waits for the next query.</summary>
    public async Task AskedAsync() => Assert.True(await _asked.WaitAsync(Test.Deadline), "the upstream was not asked");

    /// <summary>Sends a reply later, from the upstream's own port.</summary>
    public async Task SendAsync(byte[] reply, int port) => await _udp.SendToAsync(reply, SocketFlags.None, new IPEndPoint(IPAddress.Loopback, port));

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _udp.Dispose();
        _tcp.Dispose();
        try { await _loops; }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException) { }
        _stop.Dispose();
    }

    /// <summary>The port, or for 0 one that is free on both transports.</summary>
    private static (Socket Udp, Socket Tcp) Bind(IPAddress address, int port)
    {
        while (true)
        {
            var udp = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            var tcp = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            udp.Bind(new IPEndPoint(address, port));
            try
            {
                tcp.Bind(udp.LocalEndPoint!);
                return (udp, tcp);
            }
            catch (SocketException) when (port == 0)
            {
                udp.Dispose();
                tcp.Dispose();
            }
        }
    }

    private async Task UdpAsync()
    {
        byte[] buffer = new byte[65535];
        while (true)
        {
            SocketReceiveFromResult got = await _udp.ReceiveFromAsync(buffer.AsMemory(), SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), _stop.Token);
            byte[] query = buffer[..got.ReceivedBytes];
            Seen.Enqueue((query, false, ((IPEndPoint)got.RemoteEndPoint).Port));
            foreach (byte[] reply in _script(query, false)) { await _udp.SendToAsync(reply, SocketFlags.None, got.RemoteEndPoint, _stop.Token); }
            _asked.Release();
        }
    }

    private async Task TcpAsync()
    {
        List<Task> served = [];
        try
        {
            while (true) { served.Add(ServeAsync(await _tcp.AcceptAsync(_stop.Token))); }
        }
        finally
        {
            await Task.WhenAll(served);
        }
    }

    /// <summary>One question on one connection; ended by whoever asked, as RFC 7766 §6.2.3 wants it.</summary>
    private async Task ServeAsync(Socket accepted)
    {
        using Socket client = accepted;
        byte[] buffer = new byte[65535];
        int read = 0;
        while (read < 2 || read < 2 + BinaryPrimitives.ReadUInt16BigEndian(buffer))
        {
            int more = await client.ReceiveAsync(buffer.AsMemory(read), SocketFlags.None, _stop.Token);
            if (more == 0) { return; }
            read += more;
        }
        byte[] query = buffer[2..read];
        Seen.Enqueue((query, true, ((IPEndPoint)client.RemoteEndPoint!).Port));
        byte[][] replies = [.. _script(query, true)];
        foreach (byte[] reply in replies)
        {
            byte[] framed = [(byte)(reply.Length >> 8), (byte)reply.Length, .. reply];
            await client.SendAsync(framed, SocketFlags.None, _stop.Token);
        }
        _asked.Release();
        if (replies.Length == 0 && _closesTcp) { return; }
        try { await client.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, _stop.Token); }
        catch (SocketException) { } // reset by the asker
    }
}
