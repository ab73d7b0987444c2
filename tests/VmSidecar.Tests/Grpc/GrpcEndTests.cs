using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Calls that do not end by themselves: cancelled, stopped, killed, out of time.</summary>
public sealed class GrpcEndTests
{
    [Fact]
    public async Task Disposing_the_call_fires_the_handlers_token()
    {
        var entered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            entered.SetResult();
            await using (aborted.Register(gone.SetResult)) { await Assert.ThrowsAsync<GrpcException>(async () => await call.ReadAsync(default)); }
            return GrpcStatus.Ok;
        });
        IGrpcClientCall call = await pair.OpenAsync();
        await entered.Task.WaitAsync(Test.Deadline);
        await call.DisposeAsync();
        await gone.Task.WaitAsync(Test.Deadline);
        Assert.Equal(GrpcStatusCode.Cancelled, call.Status.Code);
    }

    [Fact]
    public async Task Disposing_the_call_after_the_first_message_fires_the_handlers_token_too()
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            await using (aborted.Register(gone.SetResult)) { return await GrpcPair.EchoAsync(call, aborted); }
        });
        IGrpcClientCall call = await pair.OpenAsync();
        await call.SendAsync("x"u8.ToArray(), default);
        Assert.Equal("x", await call.ReadTextAsync());
        await call.DisposeAsync();
        await gone.Task.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task A_cancelled_read_leaves_the_call_usable()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        for (int i = 0; i < 3; i++) // before the response headers, and after them
        {
            using var stop = new CancellationTokenSource();
            ValueTask<GrpcMessage?> read = call.ReadAsync(stop.Token);
            await stop.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.AsTask().WaitAsync(Test.Deadline));
            await call.SendAsync("x"u8.ToArray(), default);
            Assert.Equal("x", await call.ReadTextAsync());
        }
    }

    [Fact]
    public async Task Stopping_the_server_ends_its_calls_in_order()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        await call.SendAsync("x"u8.ToArray(), default);
        Assert.Equal("x", await call.ReadTextAsync());
        Task stopped = pair.Server.StopAsync(CancellationToken.None);
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, call.Status.Code);
        await stopped.WaitAsync(Test.Deadline);
        Assert.False(File.Exists(pair.Channel.Options.Target["unix:".Length..]));
        GrpcException refused = await Assert.ThrowsAsync<GrpcException>(() => pair.OpenAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, refused.Status.Code);
    }

    [Theory, InlineData(1), InlineData(100_000)] // beyond the client's window of 64 KiB, not beyond one piece
    public async Task A_stop_while_a_whole_message_is_on_its_way_costs_neither_message_nor_status(int length)
    {
        var sending = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            ValueTask sent = call.SendAsync(new byte[length], aborted); // returns here while flow control holds it
            sending.SetResult();
            await sent;
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, aborted);
            return GrpcStatus.Ok;
        });
        await using IGrpcClientCall call = await pair.OpenAsync();
        await sending.Task.WaitAsync(Test.Deadline);
        Task stopped = pair.Server.StopAsync(CancellationToken.None);
        using (GrpcMessage message = (await call.ReadAsync(default))!) { Assert.Equal(length, message.Body.Length); }
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, call.Status.Code);
        await stopped.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task A_handler_that_will_not_end_is_aborted_when_the_time_is_up_and_the_client_gets_a_status()
    {
        var entered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var never = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (_, _) =>
        {
            entered.SetResult();
            await never.Task;
            return GrpcStatus.Ok;
        });
        await using IGrpcClientCall call = await pair.OpenAsync();
        await entered.Task.WaitAsync(Test.Deadline);
        using var hard = new CancellationTokenSource();
        Task stopped = pair.Server.StopAsync(hard.Token);
        await hard.CancelAsync();
        Assert.Null(await call.ReadTextAsync());
        Assert.NotEqual(GrpcStatusCode.OK, call.Status.Code);
        never.SetResult();
        await stopped.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task A_deadline_is_sent_and_kept_on_both_sides()
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        var gone = new TaskCompletionSource<string?>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            entered.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, aborted).ContinueWith(_ => gone.TrySetResult(call.Metadata("grpc-timeout")), TaskScheduler.Default);
            return new GrpcStatus(GrpcStatusCode.Cancelled, "");
        });
        TimeSpan deadline = TimeSpan.FromMilliseconds(100);
        List<string?> sent = [];
        do // again with more time where the machine was too busy for the call to arrive at all
        {
            deadline *= 2;
            sent.Add(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{deadline.TotalMicroseconds:0}u"));
            GrpcException late = await Assert.ThrowsAsync<GrpcException>(() => pair.Channel.UnaryAsync(GrpcPair.Method, default, [], deadline, default));
            Assert.Equal(GrpcStatusCode.DeadlineExceeded, late.Status.Code);
        }
        while (!entered.Task.IsCompleted && deadline < Test.Deadline);
        Assert.Contains(await gone.Task.WaitAsync(Test.Deadline), sent);
    }

    [Fact]
    public async Task The_server_keeps_the_deadline_of_a_client_that_waits_on()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.Channel.OpenAsync(GrpcPair.Method, [new("grpc-timeout", "50m")], default);
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.DeadlineExceeded, "context deadline exceeded"), call.Status);
    }

    [Fact]
    public async Task Cancelling_a_unary_call_is_a_cancellation_and_not_a_status()
    {
        var entered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            entered.SetResult();
            return await GrpcPair.EchoAsync(call, aborted) with { Code = GrpcStatusCode.Aborted };
        });
        using var stop = new CancellationTokenSource();
        Task<IGrpcClientCall> open = pair.OpenAsync(stop.Token);
        await using IGrpcClientCall call = await open;
        await entered.Task.WaitAsync(Test.Deadline);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pair.Channel.UnaryAsync(GrpcPair.Method, default, [], Test.Deadline, stop.Token));
        await call.SendAsync("x"u8.ToArray(), default); // the token of OpenAsync ends with OpenAsync
        Assert.Equal("x", await call.ReadTextAsync());
    }

    [Fact]
    public async Task A_unary_call_gives_the_message_or_the_status()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            using GrpcMessage? request = await call.ReadAsync(aborted);
            switch (call.Metadata("case"))
            {
                case "refused": return new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure");
                case "nothing": return GrpcStatus.Ok;
                case "twice": await call.SendAsync(request!.Body, aborted); break;
                case "but": await call.SendAsync(request!.Body, aborted); return new GrpcStatus(GrpcStatusCode.DataLoss, "but");
                default: break;
            }
            await call.SendAsync(request!.Body, aborted);
            return GrpcStatus.Ok;
        });
        using (GrpcMessage answer = await Unary("good")) { Assert.Equal("x"u8.ToArray(), answer.Body.ToArray()); }
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"), (await Assert.ThrowsAsync<GrpcException>(() => Unary("refused"))).Status);
        Assert.Equal(GrpcStatusCode.Internal, (await Assert.ThrowsAsync<GrpcException>(() => Unary("nothing"))).Status.Code);
        Assert.Equal(GrpcStatusCode.Internal, (await Assert.ThrowsAsync<GrpcException>(() => Unary("twice"))).Status.Code);
        Assert.Equal(GrpcStatusCode.DataLoss, (await Assert.ThrowsAsync<GrpcException>(() => Unary("but"))).Status.Code);

        Task<GrpcMessage> Unary(string which) => pair.Channel.UnaryAsync(GrpcPair.Method, "x"u8.ToArray(), [new("case", which)], Test.Deadline, default);
    }

    [Fact]
    public async Task Disposing_the_channel_ends_its_calls_with_a_status()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        Task<string?> read = call.ReadTextAsync();
        await pair.Channel.DisposeAsync();
        Assert.Null(await read);
        Assert.False(call.Status.IsOk);
        await Assert.ThrowsAsync<GrpcException>(async () => await call.SendAsync(default, default));
    }
}
