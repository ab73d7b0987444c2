using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Connections older than the rules, an operator's ssh above all, go on while rules are put on, changed and taken off.</summary>
public sealed class OpenConnectionsTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(CaptureBackendKind.IptablesNft)]
    [InlineData(CaptureBackendKind.IptablesLegacy)]
    [InlineData(CaptureBackendKind.Nftables)]
    public async Task Both_directions_go_on_and_the_local_side_may_speak_first(object backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", CaptureLab.Proxy, CaptureLab.Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", CaptureLab.Proxy, CaptureLab.Proxy);
        CaptureOptions options = CaptureLab.Options with { Backend = (CaptureBackendKind)backend };
        // A lost segment costs a retransmission after the minimum timeout. With one far above any delay of a busy machine, every retransmission counted is a
        // segment that was dropped, never one that was only slow: none counted, none lost.
        await lab.Vm.RunAsync("ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.1 rto_min 20s");
        await lab.Peer.RunAsync("ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 rto_min 20s");
        using Socket sshd = Listen(lab.Vm, "10.99.0.1", 22);
        (Socket ssh, Socket operatorSide) = await OpenAsync(sshd, lab.Peer);
        (Socket shell, Socket typist) = await OpenAsync(sshd, lab.Peer);
        (Socket odd, Socket oddClient) = await OpenAsync(lab.Vm, "10.99.0.1", 2222, lab.Peer); // no port of the never-capture set
        (Socket server, Socket client) = await OpenAsync(lab.Peer, "10.99.0.2", 80, lab.Vm);
        using (ssh) using (operatorSide) using (shell) using (typist) using (odd) using (oddClient) using (server) using (client)
        {
            Socket[] all = [ssh, operatorSide, shell, typist, odd, oddClient, server, client];
            Dictionary<Socket, uint> before = all.ToDictionary(s => s, s => Transmissions(s).Again);
            using var done = new CancellationTokenSource();
            Task<int> typing = Task.Run(() => TypeAsync(typist, shell, done.Token));
            for (int i = 0; i < 5; i++)
            {
                await lab.Runner().ApplyAsync(options with { ProxyPort = (ushort)(15001 + i % 2) }, CancellationToken.None);
                await SayAsync(ssh, operatorSide);
                await SayAsync(odd, oddClient);
                await SayAsync(client, server);
                await SayAsync(server, client);
                if (i % 2 == 1) { await lab.Runner().CleanAsync(CancellationToken.None); }
                await SayAsync(client, server);
                await SayAsync(oddClient, odd);
            }
            await done.CancelAsync();
            int echoes = await typing;
            Assert.True(echoes > 10);
            Assert.True(Transmissions(typist).Sent >= echoes);
            Assert.All(all, socket => Assert.Equal(before[socket], Transmissions(socket).Again));
            output.WriteLine($"{echoes} echoes while rules changed, {Transmissions(typist).Sent} segments sent, none again");
        }
    }

    /// <summary>The count above is worth something: a rule that drops one segment shows.</summary>
    [Fact]
    public async Task A_dropped_segment_is_counted()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        (Socket server, Socket client) = await OpenAsync(lab.Peer, "10.99.0.2", 80, lab.Vm);
        using (server) using (client)
        {
            await SayAsync(client, server);
            uint before = Transmissions(client).Again;
            await lab.Peer.RunAsync("nft -f -", "table inet loss {\n chain arriving {\n type filter hook prerouting priority 0; policy accept;\n tcp dport 80 drop\n }\n}\n");
            await client.SendAsync(new byte[] { 7 });
            while (Transmissions(client).Again == before) { await lab.Vm.RunAsync("true"); }
            await lab.Peer.RunAsync("nft delete table inet loss");
            Assert.Equal(1, await server.ReceiveAsync(new byte[1]).WaitAsync(Test.Deadline));
        }
    }

    /// <summary>What the guard is for: with pilot-agent's rules alone, the next word of the local side is taken for a new connection and reset.</summary>
    [Fact]
    public async Task Without_the_guard_an_open_connection_dies()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", CaptureLab.Proxy, CaptureLab.Proxy);
        (Socket server, Socket client) = await OpenAsync(lab.Peer, "10.99.0.2", 80, lab.Vm);
        using (server) using (client)
        {
            await SayAsync(client, server);
            await lab.Runner().ApplyAsync(CaptureLab.Options with { Safety = false }, CancellationToken.None);
            await client.SendAsync(new byte[] { 7 });
            SocketException reset = await Assert.ThrowsAsync<SocketException>(async () => await client.ReceiveAsync(new byte[1]).WaitAsync(Test.Deadline));
            Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
        }
    }

    /// <summary>TCP_INFO (11) of linux/tcp.h: tcpi_total_retrans stands at 100, tcpi_data_segs_out at 156.</summary>
    private static (uint Again, uint Sent) Transmissions(Socket socket)
    {
        byte[] info = new byte[192];
        Assert.True(socket.GetRawSocketOption(6, 11, info) >= 160);
        return (BinaryPrimitives.ReadUInt32LittleEndian(info.AsSpan(100)), BinaryPrimitives.ReadUInt32LittleEndian(info.AsSpan(156)));
    }

    /// <summary>Keystroke and echo, without pause, until told to stop.</summary>
    private static async Task<int> TypeAsync(Socket near, Socket far, CancellationToken stop)
    {
        int count = 0;
        while (!stop.IsCancellationRequested)
        {
            await SayAsync(near, far);
            await SayAsync(far, near);
            count++;
        }
        return count;
    }

    private static async Task SayAsync(Socket from, Socket to)
    {
        byte[] one = [7];
        await from.SendAsync(one).WaitAsync(Test.Deadline);
        Assert.Equal(1, await to.ReceiveAsync(one).WaitAsync(Test.Deadline));
    }

    private static async Task<(Socket Server, Socket Client)> OpenAsync(NetworkNamespace where, string address, int port, NetworkNamespace from)
    {
        using Socket listener = Listen(where, address, port);
        return await OpenAsync(listener, from);
    }

    private static Socket Listen(NetworkNamespace where, string address, int port)
    {
        Socket listener = where.As(0, 0, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        listener.Bind(new IPEndPoint(IPAddress.Parse(address), port));
        listener.Listen();
        return listener;
    }

    private static async Task<(Socket Server, Socket Client)> OpenAsync(Socket listener, NetworkNamespace from)
    {
        Socket client = from.As(CaptureLab.App, CaptureLab.App, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        await client.ConnectAsync(listener.LocalEndPoint!).WaitAsync(Test.Deadline);
        return (await listener.AcceptAsync().WaitAsync(Test.Deadline), client);
    }
}
