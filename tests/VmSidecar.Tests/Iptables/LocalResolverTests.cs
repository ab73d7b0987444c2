using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// A resolver on the host (dnsmasq, unbound), with nobody behind Envoy's port: what it asks its own servers over TCP, because an answer was too long or
/// because it always does, must reach them, or the names of the whole host hang on Envoy.
/// </summary>
public sealed class LocalResolverTests
{
    private const uint Proxy = CaptureLab.Proxy;

    public static TheoryData<string, string> Cases
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string backend in new[] { "iptables-nft", "iptables-legacy", "nftables" })
            {
                foreach (string resolver in new[] { "dnsmasq", "unbound" }) { rows.Add(resolver, backend); }
            }
            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task It_reaches_its_servers_over_tcp_while_Envoy_is_dead(string resolver, string backend)
    {
        if (CommandRunner.Find(resolver) is null) { Assert.Skip($"{resolver} is not installed"); }
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        using Socket upstream = lab.Peer.As(0, 0, () => Bound("10.99.0.53", 53));
        Task serving = AnswerAllAsync(upstream);
        using Process running = Start(resolver, lab);
        try
        {
            await lab.Runner().ApplyAsync(CaptureLab.Options with { Backend = SafetyTests.Kind(backend) }, CancellationToken.None);
            // The agent asks the resolver, as for any name outside the mesh; the resolver asks its server.
            await Test.UntilAsync(() => Listens(lab));
            byte[]? answer = await AskAsync(lab);
            Assert.NotNull(answer); // dnsmasq just closes when its server cannot be reached
            Assert.Equal(0, answer[3] & 0xF);
            Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(answer.AsSpan(6)));
        }
        finally
        {
            running.Kill();
            await running.WaitForExitAsync(CancellationToken.None);
            upstream.Dispose();
            await serving;
        }
    }

    /// <summary>As another user than the proxy, with one server that is not in resolv.conf.</summary>
    private static Process Start(string resolver, CaptureLab lab)
    {
        string config = Path.Combine(lab.State, "resolver.conf");
        File.WriteAllText(config, resolver == "dnsmasq"
            ? "no-resolv\nno-hosts\nserver=10.99.0.53\nlisten-address=127.0.0.53\nbind-interfaces\ncache-size=0\nuser=nobody\npid-file=\n"
            : "server:\n interface: 127.0.0.53\n do-daemonize: no\n username: \"nobody\"\n chroot: \"\"\n pidfile: \"\"\n use-syslog: no\n do-not-query-localhost: no\n module-config: \"iterator\"\n tcp-upstream: yes\nremote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-addr: 10.99.0.53\n");
        string[] arguments = resolver == "dnsmasq" ? ["--keep-in-foreground", $"--conf-file={config}"] : ["-d", "-c", config];
        return Process.Start(new ProcessStartInfo("ip", ["netns", "exec", lab.Vm.Name, resolver, .. arguments]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
    }

    private static Socket Bound(string address, int port)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Parse(address), port));
        socket.Listen();
        return socket;
    }

    private static bool Listens(CaptureLab lab)
    {
        try
        {
            using Socket socket = ProxySocket(lab);
            socket.Connect(new IPEndPoint(IPAddress.Parse("127.0.0.53"), 53));
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            return false;
        }
    }

    /// <summary>One A query over TCP by the proxy's user.</summary>
    private static async Task<byte[]?> AskAsync(CaptureLab lab)
    {
        byte[] query = [0, 29, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, .. "example"u8, 3, .. "org"u8, 0, 0, 1, 0, 1];
        using Socket socket = ProxySocket(lab);
        await socket.ConnectAsync(new IPEndPoint(IPAddress.Parse("127.0.0.53"), 53)).WaitAsync(Test.Deadline);
        await using var stream = new NetworkStream(socket);
        await stream.WriteAsync(query);
        return await ReadAsync(stream).WaitAsync(Test.Deadline);
    }

    private static Socket ProxySocket(CaptureLab lab) => lab.Vm.As(Proxy, Proxy, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));

    /// <summary>An authority of everything: 192.0.2.7, over TCP only.</summary>
    private static async Task AnswerAllAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                using Socket connection = await listener.AcceptAsync();
                await using var stream = new NetworkStream(connection);
                while (await ReadAsync(stream) is { } query) { await stream.WriteAsync(Answer(query)); }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or IOException)
        {
            // the test has ended
        }
    }

    private static byte[] Answer(byte[] query)
    {
        int end = 12;
        while (query[end] != 0) { end += query[end] + 1; }
        byte[] message = [.. query[..(end + 5)], 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 7];
        (message[2], message[3]) = (0x81, 0x80);
        (message[7], message[9], message[11]) = (1, 0, 0);
        return [(byte)(message.Length >> 8), (byte)message.Length, .. message];
    }

    /// <summary>One message; null: the other side has closed.</summary>
    private static async Task<byte[]?> ReadAsync(NetworkStream stream)
    {
        byte[] length = new byte[2];
        if (await stream.ReadAtLeastAsync(length, 2, throwOnEndOfStream: false) < 2) { return null; }
        byte[] message = new byte[BinaryPrimitives.ReadUInt16BigEndian(length)];
        await stream.ReadExactlyAsync(message);
        return message;
    }
}
