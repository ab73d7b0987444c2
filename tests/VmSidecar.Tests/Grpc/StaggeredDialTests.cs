using System.Net;
using System.Net.Sockets;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Several addresses of one name, by RFC 8305: the first that answers wins, a silent one costs a moment, and nothing is left behind.</summary>
public sealed class StaggeredDialTests
{
    private readonly ManualTimeProvider _time = new();
    private readonly List<(string Address, TaskCompletionSource<Connection> Answer)> _dials = [];

    [Fact]
    public async Task A_silent_address_costs_a_moment_and_is_given_up_when_another_answers()
    {
        Task<Connection> connecting = ConnectAsync(["192.0.2.1", "192.0.2.2"]);
        Assert.Equal(["192.0.2.1"], Dialled);
        await StepAsync();
        await Test.UntilAsync(() => Dialled.Count == 2);
        var good = new Connection();
        _dials[1].Answer.SetResult(good);
        Assert.Same(good, await connecting.WaitAsync(Test.Deadline));
        Assert.True(_dials[0].Answer.Task.IsCanceled);
    }

    [Fact]
    public async Task The_first_address_still_wins_when_it_answers_late()
    {
        Task<Connection> connecting = ConnectAsync(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        await StepAsync();
        await Test.UntilAsync(() => Dialled.Count == 2);
        var good = new Connection();
        _dials[0].Answer.SetResult(good);
        Assert.Same(good, await connecting.WaitAsync(Test.Deadline));
        Assert.Equal(2, Dialled.Count);
    }

    [Fact]
    public async Task A_refusal_moves_on_at_once_and_the_last_one_is_the_reason()
    {
        Task<Connection> connecting = ConnectAsync(["192.0.2.1", "192.0.2.2"]);
        _dials[0].Answer.SetException(new SocketException((int)SocketError.HostUnreachable));
        await Test.UntilAsync(() => Dialled.Count == 2);
        _dials[1].Answer.SetException(new SocketException((int)SocketError.ConnectionRefused));
        SocketException failed = await Assert.ThrowsAsync<SocketException>(() => connecting.WaitAsync(Test.Deadline));
        Assert.Equal(SocketError.ConnectionRefused, failed.SocketErrorCode);
    }

    [Fact]
    public async Task Who_gives_up_gives_all_of_them_up()
    {
        using var stop = new CancellationTokenSource();
        Task<Connection> connecting = ConnectAsync(["192.0.2.1", "192.0.2.2"], stop: stop.Token);
        await StepAsync();
        await Test.UntilAsync(() => Dialled.Count == 2);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting.WaitAsync(Test.Deadline));
        Assert.All(_dials, d => Assert.True(d.Answer.Task.IsCanceled));
    }

    [Fact]
    public async Task Two_that_answer_at_once_leave_one_and_the_other_is_closed()
    {
        Task<Connection> connecting = ConnectAsync(["192.0.2.1", "192.0.2.2"], ignoresCancel: true);
        await StepAsync();
        await Test.UntilAsync(() => Dialled.Count == 2);
        Connection one = new(), two = new();
        _dials[1].Answer.SetResult(two);
        _dials[0].Answer.SetResult(one);
        Connection won = await connecting.WaitAsync(Test.Deadline);
        Assert.False(won.IsClosed);
        Assert.True((won == one ? two : one).IsClosed);
    }

    [Fact]
    public async Task A_name_without_addresses_is_not_found() =>
        Assert.Equal(SocketError.HostNotFound, (await Assert.ThrowsAsync<SocketException>(() => ConnectAsync([]))).SocketErrorCode);

    [Theory]
    [InlineData("::1 ::2 ::3 1.1.1.1", "::1 1.1.1.1 ::2 ::3")]
    [InlineData("1.1.1.1 1.1.1.2 ::1", "1.1.1.1 ::1 1.1.1.2")]
    [InlineData("1.1.1.1", "1.1.1.1")]
    [InlineData("", "")]
    public void Families_take_turns(string resolved, string tried) => Assert.Equal(
        tried, string.Join(' ', StaggeredDial.Interleave([.. resolved.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(IPAddress.Parse)])));

    private List<string> Dialled { get { lock (_dials) { return [.. _dials.Select(d => d.Address)]; } } }

    private async Task StepAsync()
    {
        Assert.Equal(StaggeredDial.Step, await _time.NextTimerAsync(Test.Deadline));
        _time.Advance(StaggeredDial.Step);
    }

    private Task<Connection> ConnectAsync(string[] addresses, bool ignoresCancel = false, CancellationToken stop = default) => StaggeredDial.ConnectAsync(
        [.. addresses.Select(IPAddress.Parse)],
        (address, given) =>
        {
            var answer = new TaskCompletionSource<Connection>(TaskCreationOptions.RunContinuationsAsynchronously);
            if (!ignoresCancel) { given.Register(() => answer.TrySetCanceled(given)); }
            lock (_dials) { _dials.Add((address.ToString(), answer)); }
            return answer.Task;
        },
        _time, stop);

    private sealed class Connection : IDisposable
    {
        public bool IsClosed { get; private set; }

        public void Dispose() => IsClosed = true;
    }
}
