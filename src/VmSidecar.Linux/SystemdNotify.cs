using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace VmSidecar.Linux;

/// <summary>Tells systemd how the service is (sd_notify(3)): datagrams to the socket systemd names in NOTIFY_SOCKET. Without one every call does nothing. Owned by whoever reports; never throws for a deaf systemd.</summary>
internal sealed class SystemdNotify(string? socketPath) : IDisposable
{
    private readonly Socket? _socket = string.IsNullOrEmpty(socketPath) ? null : new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { SendTimeout = 5000 };

    /// <summary>How long a systemd that takes nothing holds up a message, which is lost then; the agent's stop must not wait for it. 5 s.</summary>
    public TimeSpan Patience { init => _socket?.SendTimeout = (int)value.TotalMilliseconds; }

    /// <summary>Time after which systemd takes the service for dead unless it is pinged; null: no watchdog is set (WATCHDOG_USEC, sd_watchdog_enabled(3)).</summary>
    public TimeSpan? WatchdogTimeout { get; init; }

    /// <summary>As systemd set it up for the process <paramref name="processId"/>.</summary>
    public static SystemdNotify FromEnvironment(IReadOnlyDictionary<string, string> environment, int processId) => new(environment.GetValueOrDefault("NOTIFY_SOCKET"))
    {
        WatchdogTimeout = long.TryParse(environment.GetValueOrDefault("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out long microseconds) && microseconds > 0
            && (environment.GetValueOrDefault("WATCHDOG_PID") is not { Length: > 0 } meant || meant == processId.ToString(CultureInfo.InvariantCulture))
            ? TimeSpan.FromMicroseconds(microseconds)
            : null,
    };

    /// <summary>True when systemd listens.</summary>
    public bool IsEnabled => _socket is not null;

    /// <summary>The service works; <paramref name="status"/> is the line of <c>systemctl status</c>.</summary>
    public void Ready(string status) => Send($"READY=1\nSTATUS={OneLine(status)}");

    /// <summary>The line of <c>systemctl status</c>.</summary>
    public void Status(string status) => Send($"STATUS={OneLine(status)}");

    /// <summary>The stop has begun and may take <paramref name="budget"/>.</summary>
    public void Stopping(string status, TimeSpan budget) =>
        Send($"STOPPING=1\nSTATUS={OneLine(status)}\nEXTEND_TIMEOUT_USEC={(long)budget.TotalMicroseconds}");

    /// <summary>The watchdog's ping.</summary>
    public void Watchdog() => Send("WATCHDOG=1");

    /// <summary>A reload begins; end it with <see cref="Ready"/>. The stamp is CLOCK_MONOTONIC, which Type=notify-reload wants.</summary>
    public void Reloading(TimeSpan monotonic) => Send($"RELOADING=1\nMONOTONIC_USEC={(long)monotonic.TotalMicroseconds}");

    public void Dispose() => _socket?.Dispose();

    private void Send(string message)
    {
        if (_socket is null) { return; }
        try
        {
            // a leading @ stands for the zero byte of an abstract socket
            string path = socketPath!.StartsWith('@') ? "\0" + socketPath[1..] : socketPath;
            _socket.SendTo(Encoding.UTF8.GetBytes(message), new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException)
        {
            // systemd restarts, hangs or is gone: the service itself is none the worse
        }
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");
}
