using System.Net;
using System.Net.Sockets;
using System.Text;

using VmSidecar.Linux;
using VmSidecar.Status;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Status;

/// <summary>systemd is pinged only on proof, three times a period; without a watchdog nothing happens.</summary>
public sealed class SystemdWatchdogTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"vsc-notify-{Guid.NewGuid():N}");
    private readonly Socket _systemd = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    public SystemdWatchdogTests() => _systemd.Bind(new UnixDomainSocketEndPoint(_path));

    public void Dispose()
    {
        _systemd.Dispose();
        File.Delete(_path);
    }

    [Fact]
    public async Task Pings_a_third_of_the_period_apart_and_not_over_a_failed_proof()
    {
        string? problem = null;
        var time = new ManualTimeProvider(DateTimeOffset.UnixEpoch);
        using var log = new ListLog();
        using SystemdNotify notify = Notify(60_000_000);
        using var watchdog = new SystemdWatchdog(notify, _ => Task.FromResult(problem), time, log.CreateLogger("default"));
        await watchdog.StartAsync(CancellationToken.None);
        Assert.Equal("WATCHDOG=1", await ReceiveAsync());
        Assert.Equal(TimeSpan.FromSeconds(20), await time.NextTimerAsync(Test.Deadline));
        problem = "the DNS port does not answer";
        time.Advance(TimeSpan.FromSeconds(20));
        await time.NextTimerAsync(Test.Deadline); // it has looked
        Assert.Equal(0, _systemd.Available);
        problem = null;
        time.Advance(TimeSpan.FromSeconds(20));
        Assert.Equal("WATCHDOG=1", await ReceiveAsync());
        await watchdog.StopAsync(CancellationToken.None);
        Assert.Equal("WATCHDOG=1", await ReceiveAsync()); // the stop gets a whole period
        Assert.Contains("the DNS port does not answer", Assert.Single(log.Lines).ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, null, null)]
    [InlineData("60000000", null, 60)]
    [InlineData("60000000", "77", 60)]
    [InlineData("60000000", "78", null)] // meant for another process
    [InlineData("0", null, null)]
    [InlineData("soon", null, null)]
    public void The_period_is_systemds(string? microseconds, string? process, int? seconds)
    {
        var environment = new Dictionary<string, string> { ["NOTIFY_SOCKET"] = _path };
        if (microseconds is not null) { environment["WATCHDOG_USEC"] = microseconds; }
        if (process is not null) { environment["WATCHDOG_PID"] = process; }
        using var notify = SystemdNotify.FromEnvironment(environment, 77);
        Assert.Equal(seconds is { } s ? TimeSpan.FromSeconds(s) : null, notify.WatchdogTimeout);
    }

    [Fact]
    public async Task The_pulse_is_the_ports_own_answer()
    {
        using var dns = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        dns.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var endpoint = (IPEndPoint)dns.LocalEndPoint!;
        var time = new ManualTimeProvider(DateTimeOffset.UnixEpoch);
        var pulse = new OwnPulse(() => 0, () => endpoint, time);
        Task<string?> silent = pulse.CheckAsync(CancellationToken.None);
        await time.NextTimerAsync(Test.Deadline);
        byte[] query = new byte[64];
        SocketReceiveFromResult asked = await dns.ReceiveFromAsync(query, new IPEndPoint(IPAddress.Any, 0)).WaitAsync(Test.Deadline);
        Assert.Equal((12, 2), (asked.ReceivedBytes, query[2] >> 3 & 15)); // a bare header with opcode STATUS
        time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal("the DNS port does not answer within 10 s", await silent.WaitAsync(Test.Deadline));

        Task<string?> well = pulse.CheckAsync(CancellationToken.None);
        asked = await dns.ReceiveFromAsync(query, new IPEndPoint(IPAddress.Any, 0)).WaitAsync(Test.Deadline);
        await dns.SendToAsync(query.AsMemory(0, asked.ReceivedBytes), asked.RemoteEndPoint);
        Assert.Null(await well.WaitAsync(Test.Deadline));

        var nobody = new OwnPulse(() => FreePort.Next(), () => null, TimeProvider.System);
        Assert.StartsWith("the status port: ", await nobody.CheckAsync(CancellationToken.None), StringComparison.Ordinal);
    }

    [Fact]
    public void Only_the_journals_own_socket_gets_priorities()
    {
        string folder = Directory.CreateTempSubdirectory("vsc-fd-").FullName;
        File.CreateSymbolicLink(Path.Combine(folder, "1"), "socket:[4711]");
        File.CreateSymbolicLink(Path.Combine(folder, "2"), "/dev/pts/0");
        Assert.True(JournalStream.IsConnected("8:4711", folder));
        Assert.False(JournalStream.IsConnected("8:4712", folder));
        Assert.False(JournalStream.IsConnected(null, folder));
        Assert.False(JournalStream.IsConnected("4711", folder));
        Assert.False(JournalStream.IsConnected("8:4711", folder + "/absent"));
        Directory.Delete(folder, recursive: true);
    }

    private SystemdNotify Notify(long microseconds) => SystemdNotify.FromEnvironment(
        new Dictionary<string, string> { ["NOTIFY_SOCKET"] = _path, ["WATCHDOG_USEC"] = $"{microseconds}" }, 1);

    private async Task<string> ReceiveAsync()
    {
        byte[] buffer = new byte[1024];
        int count = await _systemd.ReceiveAsync(buffer).WaitAsync(Test.Deadline);
        return Encoding.UTF8.GetString(buffer, 0, count);
    }
}
