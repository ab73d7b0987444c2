using System.Net;
using System.Net.Sockets;
using VmSidecar.Linux.Sockets;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Linux.Sockets;

public sealed class DatagramPeerTests
{
    [Theory]
    [InlineData("2001:db8::1", 0)]
    [InlineData("fe80::1", 7)]  // means nothing without its interface
    [InlineData("febf::1", 7)]
    [InlineData("fec0::1", 0)]  // only fe80::/10 is link-local
    public void An_ipv6_answer_is_bound_to_its_address_and_only_a_link_local_one_to_its_interface(string asked, byte kept)
    {
        var peer = new DatagramPeer { ControlLength = 40 };
        byte[] control = [36, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 50, 0, 0, 0, .. IPAddress.Parse(asked).GetAddressBytes(), 7, 0, 0, 0];
        control.CopyTo((Span<byte>)peer.Control);
        peer.FreeRoute();
        Assert.Equal([.. control[..32], kept, 0, 0, 0], ((ReadOnlySpan<byte>)peer.Control)[..36].ToArray());
    }

    [Fact]
    public void An_ipv4_answer_is_bound_to_its_address_alone()
    {
        var peer = new DatagramPeer { ControlLength = 32 };
        byte[] control = [28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 254, 128, 0, 1, 254, 128, 0, 1];
        control.CopyTo((Span<byte>)peer.Control);
        peer.FreeRoute();
        control[16] = 0;
        Assert.Equal(control, ((ReadOnlySpan<byte>)peer.Control)[..28].ToArray());
    }

    [Fact]
    public async Task An_answer_takes_the_route_back_not_the_interface_it_was_asked_through()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        await using NetworkNamespace vm = await NetworkNamespace.CreateAsync("vsc-peer-vm"), client = await NetworkNamespace.CreateAsync("vsc-peer-cl");
        await NetworkNamespace.ConnectAsync(vm, "in0", "10.71.1.1/24", client, "out0", "10.71.1.2/24");
        await NetworkNamespace.ConnectAsync(vm, "back0", "10.71.2.1/24", client, "home0", "10.71.2.2/24");
        foreach (NetworkNamespace side in (NetworkNamespace[])[vm, client])
        {
            await side.RunAsync("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
        }
        await client.RunAsync("ip addr add 10.71.9.9/32 dev lo");
        await vm.RunAsync("ip route add 10.71.9.9/32 via 10.71.2.2");
        using Socket server = vm.As(0, 0, () => Bound(IPAddress.Any)), asking = client.As(0, 0, () => Bound(IPAddress.Parse("10.71.9.9")));
        DatagramSocket.TellAddress(server);
        using var receiver = new DatagramReceiver(1, 512);
        using var sender = new DatagramSender(server.SafeHandle, 1);
        asking.Connect(IPAddress.Parse("10.71.1.1"), ((IPEndPoint)server.LocalEndPoint!).Port); // takes an answer from there alone
        asking.Send("question"u8);
        await Test.UntilAsync(() => receiver.Receive(server.SafeHandle, out _) == 1);
        await client.RunAsync("ip link set out0 down"); // the way there is no way back
        receiver.Peer(0, out DatagramPeer peer);
        "answer"u8.CopyTo(sender.Room());
        sender.Add(peer, 6);
        sender.Flush();
        using var deadline = new CancellationTokenSource(Test.Deadline);
        byte[] answer = new byte[16];
        Assert.Equal("answer"u8.Length, await asking.ReceiveAsync(answer.AsMemory(), SocketFlags.None, deadline.Token));
    }

    private static Socket Bound(IPAddress address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(address, 0));
        return socket;
    }
}
