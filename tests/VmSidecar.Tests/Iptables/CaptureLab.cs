using System.Net;
using System.Net.Sockets;
using System.Text;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// A VM and a peer, each a namespace, joined by a veth pair: 10.99.0.1 and 10.99.0.2, fd99::1 and fd99::2. Listeners answer with their label, their local
/// address, the peer and SO_ORIGINAL_DST, so that a test can see where a packet went.
/// </summary>
internal sealed class CaptureLab : IAsyncDisposable
{
    private const int Transparent = 19, Mark = 36; // IP_TRANSPARENT, SO_MARK
    private static readonly byte[] One = BitConverter.GetBytes(1);
    public const uint Proxy = 113, ProxyGroup = 113, App = 1000;
    private readonly List<IDisposable> _owned = [];
    private readonly List<NetworkNamespace> _containers = [];
    private readonly string _state = Directory.CreateTempSubdirectory("vsc-capture").FullName;

    private CaptureLab(NetworkNamespace vm, NetworkNamespace peer) => (Vm, Peer) = (vm, peer);

    public NetworkNamespace Vm { get; }

    public NetworkNamespace Peer { get; }

    public string State => _state;

    /// <summary>What the onboarding files of a VM with systemd-resolved come to.</summary>
    public static CaptureOptions Options { get; } = new()
    {
        ProxyUids = [Proxy],
        ProxyGids = [ProxyGroup],
        AllInboundPorts = true,
        InboundExcludedPorts = ["22", "15090", "15021", "15020"],
        AllOutboundCidrs = true,
        RedirectDns = true,
        DnsServers = [IPAddress.Parse("127.0.0.53")],
    };

    public static async Task<CaptureLab> CreateAsync()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("network namespaces need root"); }
        NetworkNamespace vm = await NetworkNamespace.CreateAsync("vsc-cap-vm"), peer = await NetworkNamespace.CreateAsync("vsc-cap-peer");
        var lab = new CaptureLab(vm, peer);
        await NetworkNamespace.ConnectAsync(vm, "eth0", "10.99.0.1/24", peer, "eth0", "10.99.0.2/24");
        await vm.RunAsync("ip -6 addr add fd99::1/64 dev eth0 nodad");
        await peer.RunAsync("ip -6 addr add fd99::2/64 dev eth0 nodad");
        await peer.RunAsync("ip addr add 10.99.0.53/24 dev eth0");
        await vm.RunAsync("ip route add default via 10.99.0.2");
        return lab;
    }

    public IptablesRunner Runner(ICommandRunner? commands = null) => new(commands ?? Vm.Commands, _state, TimeProvider.System)
    {
        Kernel = new(commands ?? Vm.Commands) { HasLegacyTables = HasLegacyTables },
    };

    /// <summary>The kernel holds legacy tables in the VM; asking loads none.</summary>
    public bool HasLegacyTables(IpFamily family) =>
        Vm.As(0, 0, () => File.ReadAllText($"/proc/thread-self/net/{(family == IpFamily.V4 ? "ip_tables_names" : "ip6_tables_names")}")).Trim().Length > 0;

    /// <summary>A container behind the VM's interface d0: 172.30.0.2, forwarded and masqueraded by rules of others.</summary>
    public async Task<NetworkNamespace> AddContainerAsync(string variant)
    {
        NetworkNamespace container = await NetworkNamespace.CreateAsync("vsc-cap-cont");
        _containers.Add(container);
        await NetworkNamespace.ConnectAsync(Vm, "d0", "172.30.0.1/24", container, "eth0", "172.30.0.2/24");
        await container.RunAsync("ip route add default via 172.30.0.1");
        await Vm.RunAsync("sysctl -qw net.ipv4.ip_forward=1");
        await Vm.RunAsync($"{variant} -t nat -A POSTROUTING -s 172.30.0.0/24 ! -o d0 -j MASQUERADE");
        return container;
    }

    /// <summary>Both families of one variant, without the comment lines that carry times.</summary>
    public async Task<string> SaveAsync(string variant = "iptables-nft")
    {
        string text = await Vm.RunAsync($"{variant}-save") + await Vm.RunAsync($"ip6{variant[2..]}-save");
        return string.Join('\n', text.Split('\n').Where(l => !l.StartsWith('#')));
    }

    /// <summary>Serves TCP on an address of a namespace until the lab ends.</summary>
    public void ListenTcp(NetworkNamespace where, string address, int port, string label, uint uid = 0, uint gid = 0, bool transparent = false)
    {
        Socket listener = where.As(uid, gid, () =>
        {
            var endPoint = new IPEndPoint(IPAddress.Parse(address), port);
            var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            if (transparent) { socket.SetRawSocketOption(0, Transparent, One); }
            socket.Bind(endPoint);
            socket.Listen();
            return socket;
        });
        _owned.Add(listener);
        _ = ServeAsync(listener, label);
    }

    /// <summary>Answers datagrams likewise.</summary>
    public void ListenUdp(NetworkNamespace where, string address, int port, string label, uint uid = 0, uint gid = 0)
    {
        Socket socket = where.As(uid, gid, () =>
        {
            var endPoint = new IPEndPoint(IPAddress.Parse(address), port);
            var made = new Socket(endPoint.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            made.Bind(endPoint);
            return made;
        });
        _owned.Add(socket);
        _ = AnswerAsync(socket, label);
    }

    /// <summary>What a TCP connection meets: <c>label local peer original</c>, or <c>refused</c>.</summary>
    /// <param name="from">Where the caller is.</param>
    /// <param name="uid">Its user.</param>
    /// <param name="gid">Its group.</param>
    /// <param name="address">Whom it calls.</param>
    /// <param name="port">On which port.</param>
    /// <param name="source">The address it binds.</param>
    /// <param name="mark">SO_MARK, with a source that need not be its own, as Envoy's original source filter does.</param>
    public static async Task<string> AskTcpAsync(NetworkNamespace from, uint uid, uint gid, string address, int port, string? source = null, int mark = 0)
    {
        using Socket socket = from.As(uid, gid, () => new Socket(IPAddress.Parse(address).AddressFamily, SocketType.Stream, ProtocolType.Tcp));
        if (mark != 0)
        {
            socket.SetRawSocketOption(0, Transparent, One);
            socket.SetRawSocketOption(1, Mark, BitConverter.GetBytes(mark));
        }
        using var patience = new CancellationTokenSource(Test.Deadline);
        try
        {
            if (source is not null) { socket.Bind(new IPEndPoint(IPAddress.Parse(source), 0)); }
            await socket.ConnectAsync(new IPEndPoint(IPAddress.Parse(address), port), patience.Token);
            byte[] buffer = new byte[512];
            int got = await socket.ReceiveAsync(buffer, patience.Token);
            return Encoding.ASCII.GetString(buffer, 0, got);
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.ConnectionReset)
        {
            return "refused";
        }
    }

    /// <summary>What a datagram meets: <c>label</c> and from where the answer came.</summary>
    public static async Task<string> AskUdpAsync(NetworkNamespace from, uint uid, uint gid, string address, int port, int sourcePort = 0, byte[]? query = null)
    {
        using Socket socket = from.As(uid, gid, () => new Socket(IPAddress.Parse(address).AddressFamily, SocketType.Dgram, ProtocolType.Udp));
        IPAddress any = socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any;
        socket.Bind(new IPEndPoint(any, sourcePort));
        using var patience = new CancellationTokenSource(Test.Deadline);
        var target = new IPEndPoint(IPAddress.Parse(address), port);
        await socket.SendToAsync(query ?? "?"u8.ToArray(), target, patience.Token);
        byte[] buffer = new byte[512];
        try
        {
            SocketReceiveFromResult got = await socket.ReceiveFromAsync(buffer, new IPEndPoint(any, 0), patience.Token);
            return $"{Encoding.ASCII.GetString(buffer, 0, got.ReceivedBytes)} from {got.RemoteEndPoint}";
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            return "refused";
        }
    }

    public async ValueTask DisposeAsync()
    {
        _owned.ForEach(o => o.Dispose());
        foreach (NetworkNamespace container in _containers) { await container.DisposeAsync(); }
        await Vm.DisposeAsync();
        await Peer.DisposeAsync();
        Directory.Delete(_state, recursive: true);
    }

    private static async Task ServeAsync(Socket listener, string label)
    {
        try
        {
            while (true)
            {
                using Socket connection = await listener.AcceptAsync();
                await connection.SendAsync(Encoding.ASCII.GetBytes($"{label} {connection.LocalEndPoint} {((IPEndPoint)connection.RemoteEndPoint!).Address} {Original(connection)}"));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // the lab has ended
        }
    }

    private static async Task AnswerAsync(Socket socket, string label)
    {
        byte[] buffer = new byte[512];
        try
        {
            while (true)
            {
                SocketReceiveFromResult got = await socket.ReceiveFromAsync(buffer, new IPEndPoint(socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0));
                await socket.SendToAsync(Encoding.ASCII.GetBytes(label), got.RemoteEndPoint);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // the lab has ended
        }
    }

    /// <summary>SO_ORIGINAL_DST (80) of IPPROTO_IP or IPPROTO_IPV6.</summary>
    private static string Original(Socket connection)
    {
        bool v4 = connection.AddressFamily == AddressFamily.InterNetwork;
        byte[] raw = new byte[v4 ? 16 : 28];
        try
        {
            int length = connection.GetRawSocketOption(v4 ? 0 : 41, 80, raw);
            int port = (raw[2] << 8) | raw[3];
            return new IPEndPoint(new IPAddress(v4 ? raw.AsSpan(4, 4) : raw.AsSpan(8, 16)), port).ToString();
        }
        catch (SocketException)
        {
            return "untracked";
        }
    }
}
