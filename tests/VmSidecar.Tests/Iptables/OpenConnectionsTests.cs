using System.Diagnostics;
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
        (Socket ssh, Socket operatorSide) = await OpenAsync(lab.Vm, "10.99.0.1", 22, lab.Peer);
        (Socket shell, Socket typist) = await OpenAsync(lab.Vm, "10.99.0.1", 22, lab.Peer);
        (Socket odd, Socket oddClient) = await OpenAsync(lab.Vm, "10.99.0.1", 2222, lab.Peer); // no port of the never-capture set
        (Socket server, Socket client) = await OpenAsync(lab.Peer, "10.99.0.2", 80, lab.Vm);
        using (ssh) using (operatorSide) using (shell) using (typist) using (odd) using (oddClient) using (server) using (client)
        {
            TimeSpan longest = TimeSpan.Zero;
            using var done = new CancellationTokenSource();
            Task<int> typing = Task.Run(() => TypeAsync(typist, shell, t => longest = t > longest ? t : longest, done.Token));
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
            output.WriteLine($"{echoes} echoes while rules changed, the slowest {longest.TotalMilliseconds:0.0} ms");
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

    /// <summary>Keystroke and echo, without pause, until told to stop.</summary>
    private static async Task<int> TypeAsync(Socket near, Socket far, Action<TimeSpan> took, CancellationToken stop)
    {
        int count = 0;
        while (!stop.IsCancellationRequested)
        {
            long begin = Stopwatch.GetTimestamp();
            await SayAsync(near, far);
            await SayAsync(far, near);
            took(Stopwatch.GetElapsedTime(begin));
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
        using Socket listener = where.As(0, 0, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        listener.Bind(new IPEndPoint(IPAddress.Parse(address), port));
        listener.Listen();
        Socket client = from.As(CaptureLab.App, CaptureLab.App, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        await client.ConnectAsync(new IPEndPoint(IPAddress.Parse(address), port)).WaitAsync(Test.Deadline);
        return (await listener.AcceptAsync().WaitAsync(Test.Deadline), client);
    }
}
