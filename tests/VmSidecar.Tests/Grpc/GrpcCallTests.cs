using System.Text;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Our client against our server over a unix socket: what both promise about messages, ends and memory.</summary>
public sealed class GrpcCallTests
{
    [Fact]
    public async Task What_was_begun_and_given_up_is_read_to_the_end_in_pieces_and_so_is_what_follows()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            foreach (int length in (int[])[100_000, 0, 300_000, 0, 3]) { await call.SendAsync(new byte[length], aborted); }
            return GrpcStatus.Ok;
        });
        await using IGrpcClientCall client = await pair.OpenAsync();
        byte[] room = new byte[1000];
        Assert.Equal(100_000, await client.BeginReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        int read = await client.ReadPieceAsync(room.AsMemory(0, 10), CancellationToken.None);
        while (await client.BeginReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline) is >= 0 and int length)
        {
            int piece = await client.ReadPieceAsync(room, CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
            Assert.Equal(length == 0, piece == 0);
            read += piece;
        }
        Assert.Equal((400_003, GrpcStatus.Ok), (read, client.Status));
    }

    [Fact]
    public async Task Messages_come_back_and_the_half_close_ends_the_call_with_the_servers_status()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        foreach (string text in new[] { "one", "", "three", "" })
        {
            await call.SendAsync(Encoding.UTF8.GetBytes(text), default);
            Assert.Equal(text, await call.ReadTextAsync());
        }
        await call.CompleteAsync(default);
        Assert.Null(await call.ReadTextAsync());
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(GrpcStatus.Ok, call.Status);
        Assert.True(call.EndedGracefully);
    }

    [Fact]
    public async Task A_call_opens_and_takes_messages_while_the_server_has_sent_nothing()
    {
        var received = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        var release = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            using (GrpcMessage? message = await call.ReadAsync(aborted)) { received.SetResult(Encoding.UTF8.GetString(message!.Body.Span)); }
            await release.Task.WaitAsync(aborted);
            return GrpcStatus.Ok;
        });
        await using IGrpcClientCall call = await pair.OpenAsync();
        await call.SendAsync("first"u8.ToArray(), default);
        Assert.Equal("first", await received.Task.WaitAsync(Test.Deadline));
        release.SetResult();
        Assert.Null(await call.ReadTextAsync());
        Assert.True(call.Status.IsOk);
    }

    [Fact]
    public async Task A_server_may_speak_before_the_client_has_sent_anything()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            await call.SendAsync("hello"u8.ToArray(), aborted);
            return new GrpcStatus(GrpcStatusCode.Aborted, "enough");
        });
        await using IGrpcClientCall call = await pair.OpenAsync();
        Assert.Equal("hello", await call.ReadTextAsync());
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Aborted, "enough"), call.Status);
    }

    [Fact]
    public async Task Every_status_and_any_message_arrive_without_and_after_a_message()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            string[] wanted = call.Metadata("wanted")!.Split('/');
            if (wanted[1] == "late") { await call.SendAsync("x"u8.ToArray(), aborted); }
            return new GrpcStatus(Enum.Parse<GrpcStatusCode>(wanted[0]), "50 % of\nthe café ☺");
        });
        foreach (GrpcStatusCode code in Enum.GetValues<GrpcStatusCode>())
        {
            foreach (string when in new[] { "early", "late" })
            {
                await using IGrpcClientCall call = await pair.Channel.OpenAsync(GrpcPair.Method, [new("wanted", $"{code}/{when}")], default);
                if (when == "late") { Assert.Equal("x", await call.ReadTextAsync()); }
                Assert.Null(await call.ReadTextAsync());
                Assert.Equal(new GrpcStatus(code, "50 % of\nthe café ☺"), call.Status);
                Assert.Equal(code is GrpcStatusCode.OK or GrpcStatusCode.Cancelled or GrpcStatusCode.DeadlineExceeded, call.EndedGracefully);
            }
        }
    }

    [Fact]
    public async Task Metadata_arrives_in_order_and_by_lower_case_name()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync((call, _) => Task.FromResult(new GrpcStatus(
            GrpcStatusCode.Aborted,
            $"{call.Method} {call.Metadata("authorization")} {string.Join('+', call.MetadataAll("clusterid"))} {call.Metadata("te")} [{call.Peer}] {call.Metadata("nothing") ?? "null"} {call.Metadata("traceparent") ?? "untraced"}")));
        using var activity = new System.Diagnostics.Activity("test").Start();
        await using IGrpcClientCall call = await pair.Channel.OpenAsync(GrpcPair.Method, [new("authorization", "Bearer t"), new("ClusterID", "a"), new("ClusterID", "b")], default); // joined on the wire, as the specification allows
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal("/test.Echo/Call Bearer t a, b trailers [] null untraced", call.Status.Message);
    }

    [Fact]
    public async Task An_unknown_method_is_unimplemented_and_names_itself()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.Channel.OpenAsync("/no.Such/Method", [], default);
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unimplemented, "unknown method /no.Such/Method"), call.Status);
    }

    [Fact]
    public async Task A_message_over_the_limit_ends_the_call_on_either_side()
    {
        await using GrpcPair server = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync, serverMax: 100);
        await using (IGrpcClientCall call = await server.OpenAsync())
        {
            await call.SendAsync(new byte[100], default);
            Assert.Equal(100, (await call.ReadTextAsync())!.Length);
            await call.SendAsync(new byte[101], default);
            Assert.Null(await call.ReadTextAsync());
            Assert.Equal(new GrpcStatus(GrpcStatusCode.ResourceExhausted, "received message larger than max (101 vs. 100)"), call.Status);
        }
        await using GrpcPair client = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync, clientMax: 100);
        await using (IGrpcClientCall call = await client.OpenAsync())
        {
            await call.SendAsync(new byte[101], default);
            Assert.Null(await call.ReadTextAsync());
            Assert.Equal(new GrpcStatus(GrpcStatusCode.ResourceExhausted, "received message larger than max (101 vs. 100)"), call.Status);
            Assert.False(call.EndedGracefully);
        }
    }

    /// <summary>Kestrel's own limits would end the stream of an Envoy that stalls for five seconds, and of one that lives long.</summary>
    [Fact]
    public void Nothing_ends_a_call_for_its_rate_or_its_size()
    {
        var limits = new Microsoft.AspNetCore.Server.Kestrel.Core.KestrelServerLimits();
        GrpcServer.Limit(limits);
        Assert.Equal((null, null, null), (limits.MinResponseDataRate, limits.MinRequestBodyDataRate, limits.MaxRequestBodySize));
    }

    [Fact]
    public async Task Fifty_megabytes_pass_both_ways_in_one_piece()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        byte[] large = new byte[50 * 1024 * 1024];
        new Random(5).NextBytes(large);
        Task sending = call.SendAsync(large, default).AsTask();
        using GrpcMessage? back = await call.ReadAsync(default).AsTask().WaitAsync(Test.Deadline);
        await sending;
        Assert.True(back!.Body.Span.SequenceEqual(large));
    }

    [Fact]
    public async Task A_handler_that_fails_costs_its_call_only()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync((call, aborted) =>
            call.Metadata("fail") is null ? GrpcPair.EchoAsync(call, aborted) : throw new InvalidOperationException("a bug"));
        await using IGrpcClientCall good = await pair.OpenAsync();
        await using (IGrpcClientCall bad = await pair.Channel.OpenAsync(GrpcPair.Method, [new("fail", "1")], default))
        {
            Assert.Null(await bad.ReadTextAsync());
            Assert.Equal(GrpcStatusCode.Internal, bad.Status.Code);
            Assert.DoesNotContain("a bug", bad.Status.Message, StringComparison.Ordinal);
        }
        await good.SendAsync("still"u8.ToArray(), default);
        Assert.Equal("still", await good.ReadTextAsync());
    }

    [Fact]
    public async Task A_reader_that_does_not_read_stops_the_sender()
    {
        var release = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        int counted = 0;
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(async (call, aborted) =>
        {
            if (call.Metadata("slow") is null) { return await GrpcPair.EchoAsync(call, aborted); }
            await release.Task.WaitAsync(aborted);
            while (await call.ReadAsync(aborted) is { } message) { message.Dispose(); counted++; }
            return GrpcStatus.Ok;
        });
        await using IGrpcClientCall slow = await pair.Channel.OpenAsync(GrpcPair.Method, [new("slow", "1")], default);
        int sent = 0;
        Task sending = SendManyAsync();
        await using IGrpcClientCall quick = await pair.OpenAsync();
        int before;
        do // until nothing more goes out while another call on the same connection makes ten rounds
        {
            before = Volatile.Read(ref sent);
            for (int i = 0; i < 10; i++)
            {
                await quick.SendAsync("x"u8.ToArray(), default);
                Assert.Equal("x", await quick.ReadTextAsync());
            }
        }
        while (before != Volatile.Read(ref sent));
        Assert.InRange(before, 0, 6); // messages of a megabyte: the window of the call, and what the pipes between hold
        release.SetResult();
        await sending.WaitAsync(Test.Deadline);
        Assert.Null(await slow.ReadTextAsync());
        Assert.Equal(40, counted);

        async Task SendManyAsync()
        {
            byte[] megabyte = new byte[1024 * 1024];
            for (int i = 0; i < 40; i++)
            {
                await slow.SendAsync(megabyte, default);
                Interlocked.Increment(ref sent);
            }
            await slow.CompleteAsync(default);
        }
    }
}
