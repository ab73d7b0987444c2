using System.Net;
using System.Net.Sockets;
using System.Text;

using VmSidecar.Linux;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Linux;

public sealed class ChildProcessTests
{
    [Theory]
    [InlineData(0, "exit status 0")]
    [InlineData(0x0100, "exit status 1")]
    [InlineData(0xff00, "exit status 255")]
    [InlineData(9, "signal: killed")]
    [InlineData(11, "signal: segmentation fault")]
    [InlineData(0x86, "signal: aborted (core dumped)")]
    [InlineData(40, "signal: signal 40")]
    public void A_wait_status_reads_as_the_classic_agent_says_it(int status, string expected) => Assert.Equal(expected, ChildExit.FromWaitStatus(status).ToString());

    [Fact]
    public async Task An_exit_code_above_128_is_no_signal()
    {
        ChildProcess child = await ChildProcess.StartAsync(Shell("exit 137"));
        Assert.Equal("exit status 137", (await child.Exited.WaitAsync(Test.Deadline)).ToString());
    }

    private const ulong OfTheThreadLibrary = 0x180000000; // signals 32 and 33: libc keeps them to itself

    [Fact]
    public async Task A_child_has_default_signals_an_own_group_and_no_handles_of_ours()
    {
        using var held = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        var answer = await ChildOutput.CaptureAsync(
            Shell("grep -E '^Sig(Ign|Blk)' /proc/self/status; ps -o pgid= -p $$ | tr -d ' '; echo $$; ls -l /proc/self/fd | grep -c socket") with { Quiet = false },
            Test.Deadline, TimeProvider.System, CancellationToken.None);
        string[] lines = answer!.Value.Text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(lines[..2], l => Assert.Equal(0UL, Convert.ToUInt64(l.Split('\t')[1], 16) & ~OfTheThreadLibrary));
        Assert.Equal(lines[2], lines[3]);
        Assert.Equal("0", lines[4]);
    }

    [Fact]
    public async Task What_cannot_be_run_is_said()
    {
        var e = await Assert.ThrowsAsync<ChildStartException>(() => ChildProcess.StartAsync(new ChildCommand("/nonexistent/envoy", [], new Dictionary<string, string>())));
        Assert.Equal("/nonexistent/envoy: No such file or directory", e.Message);
    }

    [Fact]
    public async Task A_signal_after_the_end_reaches_nobody()
    {
        ChildProcess child = await ChildProcess.StartAsync(Shell("exit 0"));
        await child.Exited.WaitAsync(Test.Deadline);
        Assert.False(child.TrySignal(SignalNumber.Term));
    }

    [Fact]
    public async Task A_capture_that_takes_too_long_is_killed()
    {
        var time = new ManualTimeProvider();
        var capture = ChildOutput.CaptureAsync(Shell("exec sleep 1000") with { Quiet = false }, TimeSpan.FromSeconds(5), time, CancellationToken.None);
        await time.NextTimerAsync(Test.Deadline);
        time.Advance(TimeSpan.FromSeconds(5));
        Assert.Null(await capture.WaitAsync(Test.Deadline));
    }

    [Fact]
    public async Task The_parent_death_signal_is_set_where_setpriv_can()
    {
        if (await ParentDeath.FindAsync() is not { } setpriv) { Assert.Skip("no setpriv here"); return; }
        // the middle process stands for the agent; its child must not outlive it
        // it dies only after setpriv has become the command: before that the signal is not set yet
        string script = $"{setpriv} --pdeathsig KILL -- sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; kill -KILL $$";
        var answer = await ChildOutput.CaptureAsync(Shell(script) with { Quiet = false }, Test.Deadline, TimeProvider.System, CancellationToken.None);
        Assert.True(answer!.Value.Exit.IsKilled);
        Assert.Equal("/usr/bin/setpriv", ParentDeath.Wrap(Shell("x"), "/usr/bin/setpriv").File);
        Assert.Equal(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", "x"], ParentDeath.Wrap(Shell("x"), "/usr/bin/setpriv").Arguments);
    }

    [Fact]
    public void The_listener_of_a_port_is_named()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        PortOwner? owner = PortOwner.Find(((IPEndPoint)listener.LocalEndpoint).Port);
        Assert.Equal(Environment.ProcessId, owner!.ProcessId);
        Assert.NotEmpty(owner.CommandLine);
        listener.Stop();
        Assert.Null(PortOwner.Find(1));
    }

    [Fact]
    public async Task Systemd_gets_one_datagram_per_word()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vsc-notify-{Guid.NewGuid():N}");
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        systemd.Bind(new UnixDomainSocketEndPoint(path));
        try
        {
            using var notify = new SystemdNotify(path);
            notify.Ready("ready\nnow");
            Assert.Equal("READY=1\nSTATUS=ready now", await ReceiveAsync(systemd));
            notify.Watchdog();
            Assert.Equal("WATCHDOG=1", await ReceiveAsync(systemd));
            notify.Stopping("draining", TimeSpan.FromSeconds(30));
            Assert.Equal("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=30000000", await ReceiveAsync(systemd));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task An_abstract_socket_works_and_a_missing_one_is_no_error()
    {
        string name = $"vsc-notify-{Guid.NewGuid():N}";
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        systemd.Bind(new UnixDomainSocketEndPoint("\0" + name));
        using var notify = new SystemdNotify("@" + name);
        notify.Status("x");
        Assert.Equal("STATUS=x", await ReceiveAsync(systemd));

        using var deaf = new SystemdNotify("/nonexistent/notify");
        deaf.Ready("x");
        using var off = new SystemdNotify(null);
        Assert.False(off.IsEnabled);
        off.Ready("x");
    }

    [Fact]
    public void A_systemd_that_takes_nothing_costs_messages_and_not_the_agent()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vsc-notify-{Guid.NewGuid():N}");
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        systemd.Bind(new UnixDomainSocketEndPoint(path));
        try
        {
            using var notify = new SystemdNotify(path) { Patience = TimeSpan.FromMilliseconds(10) };
            int queue = int.Parse(File.ReadAllText("/proc/sys/net/unix/max_dgram_qlen"), System.Globalization.CultureInfo.InvariantCulture);
            for (int i = 0; i < queue + 5; i++) { notify.Watchdog(); } // returns
            Assert.True(systemd.Available > 0);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static async Task<string> ReceiveAsync(Socket socket)
    {
        byte[] buffer = new byte[1024];
        int count = await socket.ReceiveAsync(buffer).WaitAsync(Test.Deadline);
        return Encoding.UTF8.GetString(buffer, 0, count);
    }

    private static ChildCommand Shell(string script) =>
        new("/bin/sh", ["-c", script], new Dictionary<string, string> { ["PATH"] = "/usr/bin:/bin" }, Quiet: true);
}
