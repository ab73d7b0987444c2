using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>A whole DNS server on a free port with its own folder, upstreams given by address, and a client for it.</summary>
internal sealed class DnsLab : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmsidecar-dns-").FullName;
    private bool _stopped;

    private DnsLab(TimeProvider? time, Func<DnsOptions, DnsOptions>? change)
    {
        File.WriteAllText(ResolvConfPath, "");
        Options = new DnsOptions
        {
            Enabled = true, Listen = [new(IPAddress.Loopback, 0)], ResolvConf = ResolvConfPath, StateDirectory = Path.Combine(_folder, "state"),
            Namespace = "payments", Domain = "payments.svc.cluster.local", VirtualIpRest = TimeSpan.Zero,
        };
        Options = change?.Invoke(Options) ?? Options;
        Server = new DnsServer(Options, Metrics, time ?? TimeProvider.System, Log);
    }

    public DnsOptions Options { get; }

    public MetricRegistry Metrics { get; } = new();

    public LogLines Log { get; } = new();

    public DnsServer Server { get; }

    public string ResolvConfPath => Path.Combine(_folder, "resolv.conf");

    public string TablePath => Path.Combine(Options.StateDirectory, "nametable");

    public IPEndPoint Address => Server.Bound[0];

    public static async Task<DnsLab> StartAsync(FakeUpstream[]? upstreams = null, TimeProvider? time = null, Func<DnsOptions, DnsOptions>? change = null, string resolvConf = "")
    {
        var lab = new DnsLab(time, change);
        await File.WriteAllTextAsync(lab.ResolvConfPath, resolvConf);
        await lab.Server.StartAsync(CancellationToken.None);
        if (upstreams is not null) { lab.Server.Upstreams.UseServers([.. upstreams.Select(u => u.Endpoint)]); }
        return lab;
    }

    /// <summary>Asks by UDP and waits for the reply with the same id.</summary>
    public async Task<byte[]> AskRawAsync(byte[] query)
    {
        using var socket = new Socket(Address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(Address);
        await socket.SendAsync(query, SocketFlags.None);
        byte[] reply = new byte[65535];
        using var deadline = new CancellationTokenSource(Test.Deadline);
        int length = await socket.ReceiveAsync(reply.AsMemory(), SocketFlags.None, deadline.Token);
        Assert.Equal(query[..2], reply[..2]);
        return reply[..length];
    }

    public async Task<DnsText> AskAsync(string name, ushort type = 1, int edns = -1, ushort id = 0x1234) => DnsMessages.Read(await AskRawAsync(DnsMessages.Query(name, type, edns, id)));

    public async Task<DnsText> AskTcpAsync(string name, ushort type = 1)
    {
        using Socket socket = await ConnectTcpAsync();
        await WriteTcpAsync(socket, DnsMessages.Query(name, type));
        return DnsMessages.Read(await ReadTcpAsync(socket));
    }

    public async Task<Socket> ConnectTcpAsync()
    {
        var socket = new Socket(Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(Address);
        return socket;
    }

    public static async Task WriteTcpAsync(Socket socket, byte[] query) => await socket.SendAsync((byte[])[(byte)(query.Length >> 8), (byte)query.Length, .. query], SocketFlags.None);

    public static async Task<byte[]> ReadTcpAsync(Socket socket)
    {
        byte[] prefix = await FillAsync(socket, 2);
        return await FillAsync(socket, BinaryPrimitives.ReadUInt16BigEndian(prefix));
    }

    public string MetricsPage()
    {
        var page = new System.Text.StringBuilder();
        Metrics.WriteTo(page);
        return page.ToString();
    }

    /// <summary>Shows hosts as the relay does, with a name table that knows none of them, and waits until each has an address.</summary>
    public async Task ShowHostsAsync(params string[] hosts)
    {
        Assert.Null(Server.Names.Accept([]));
        Server.VirtualIps.Accept(hosts);
        await Test.UntilAsync(() => Server.VirtualIps.Current.Hosts.Keys.Order(StringComparer.Ordinal).SequenceEqual(hosts.Order(StringComparer.Ordinal)));
    }

    /// <summary>The test stopped the server itself.</summary>
    public void MarkStopped() => _stopped = true;

    /// <summary>Stops the server; <paramref name="now"/>: without waiting for what a silent upstream still owes.</summary>
    public async Task StopAsync(bool now = false)
    {
        if (_stopped) { return; }
        _stopped = true;
        using var hard = new CancellationTokenSource(now ? TimeSpan.Zero : Test.Deadline);
        await Server.StopAsync(hard.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private static async Task<byte[]> FillAsync(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        using var deadline = new CancellationTokenSource(Test.Deadline);
        for (int at = 0; at < length;)
        {
            int read = await socket.ReceiveAsync(bytes.AsMemory(at), SocketFlags.None, deadline.Token);
            Assert.True(read > 0, "the server closed the connection");
            at += read;
        }
        return bytes;
    }
}

/// <summary>Keeps log lines for a test to look at.</summary>
internal sealed class LogLines : ILogger
{
    private readonly System.Collections.Concurrent.ConcurrentQueue<string> _lines = new();

    public IReadOnlyCollection<string> Lines => _lines;

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _lines.Enqueue($"{logLevel}: {formatter(state, exception)}");
}
