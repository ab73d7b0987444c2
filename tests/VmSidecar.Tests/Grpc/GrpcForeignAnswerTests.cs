using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>What our client makes of answers that our server never gives.</summary>
public sealed class GrpcForeignAnswerTests
{
    [Theory]
    [InlineData(400, nameof(GrpcStatusCode.Internal))]
    [InlineData(401, nameof(GrpcStatusCode.Unauthenticated))]
    [InlineData(403, nameof(GrpcStatusCode.PermissionDenied))]
    [InlineData(404, nameof(GrpcStatusCode.Unimplemented))]
    [InlineData(429, nameof(GrpcStatusCode.Unavailable))]
    [InlineData(502, nameof(GrpcStatusCode.Unavailable))]
    [InlineData(503, nameof(GrpcStatusCode.Unavailable))]
    [InlineData(504, nameof(GrpcStatusCode.Unavailable))]
    [InlineData(418, nameof(GrpcStatusCode.Unknown))]
    [InlineData(301, nameof(GrpcStatusCode.Unknown))]
    public async Task An_HTTP_error_without_a_status_is_mapped(int http, string expected)
    {
        GrpcStatus status = await EndOfAsync(context =>
        {
            context.Response.StatusCode = http;
            context.Response.Headers.Location = "http://127.0.0.1:1/";
            return Task.CompletedTask;
        });
        Assert.Equal(expected, status.Code.ToString());
        Assert.Contains($"{http}", status.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, nameof(GrpcStatusCode.Internal), true)]
    [InlineData(1, nameof(GrpcStatusCode.Internal), false)]
    [InlineData(2, nameof(GrpcStatusCode.Internal), false)]
    [InlineData(3, nameof(GrpcStatusCode.Internal), false)]
    [InlineData(5, nameof(GrpcStatusCode.Unknown), false)]
    [InlineData(7, nameof(GrpcStatusCode.Unavailable), false)]
    [InlineData(8, nameof(GrpcStatusCode.Cancelled), true)]
    [InlineData(11, nameof(GrpcStatusCode.ResourceExhausted), false)]
    [InlineData(12, nameof(GrpcStatusCode.PermissionDenied), false)]
    public async Task A_reset_is_mapped_by_its_code_before_and_after_a_message(int reset, string expected, bool graceful)
    {
        foreach (bool after in new[] { false, true })
        {
            var opened = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously); // a reset during the opening is another matter
            await using RawServer server = await RawServer.StartAsync(async context =>
            {
                context.Response.ContentType = "application/grpc";
                await opened.Task;
                if (after) { await context.Response.Body.WriteAsync(new byte[] { 0, 0, 0, 0, 1, 65 }); }
                if (after) { await context.Request.Body.ReadExactlyAsync(new byte[5]); } // the client has our message now
                context.Features.Get<IHttpResetFeature>()!.Reset(reset);
            });
            await using IGrpcClientCall call = await server.Channel.OpenAsync("/a.B/C", [], default);
            opened.SetResult();
            if (after)
            {
                Assert.Equal("A", await call.ReadTextAsync());
                await call.SendAsync(default, default);
            }
            Assert.Null(await call.ReadTextAsync());
            Assert.True(expected == call.Status.Code.ToString(), call.Status.ToString());
            Assert.Equal(graceful, call.EndedGracefully);
        }
    }

    [Theory]
    [InlineData(7, nameof(GrpcStatusCode.Unavailable))]
    [InlineData(8, nameof(GrpcStatusCode.Cancelled))]
    [InlineData(11, nameof(GrpcStatusCode.ResourceExhausted))]
    public async Task A_reset_that_meets_the_opening_of_a_call_is_told_by_its_code(int reset, string expected)
    {
        await using RawServer server = await RawServer.StartAsync(context =>
        {
            context.Features.Get<IHttpResetFeature>()!.Reset(reset);
            return Task.CompletedTask;
        });
        for (int i = 0; i < 100; i++) // which of the two is first is not ours to say
        {
            GrpcStatus status;
            try
            {
                await using IGrpcClientCall call = await server.Channel.OpenAsync("/a.B/C", [], default);
                Assert.Null(await call.ReadTextAsync());
                status = call.Status;
            }
            catch (GrpcException e) { status = e.Status; }
            Assert.True(expected == status.Code.ToString(), $"{i}: {status}");
            Assert.DoesNotContain("task", status.Message, StringComparison.OrdinalIgnoreCase);
        }
    }

    [Theory]
    [InlineData(-1, 7, "rpc error: code = Unavailable desc = stream terminated by RST_STREAM with error code: REFUSED_STREAM", false)]
    [InlineData(-1, 0, "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: NO_ERROR", true)]
    [InlineData(-1, -1, "rpc error: code = Unavailable desc = transport is closing", false)]
    [InlineData(0, -1, "rpc error: code = Unavailable desc = transport is closing, received prior goaway: code: NO_ERROR", true)]
    [InlineData(0, 8, "rpc error: code = Unavailable desc = transport is closing, received prior goaway: code: NO_ERROR", true)]
    public void What_HttpClient_calls_a_cancellation_is_what_the_peer_did(int goAway, long reset, string said, bool graceful)
    {
        GrpcEnd end = GrpcFailure.From(new IOException("sending", new TaskCanceledException()), new PeerGoodbye(goAway, reset));
        Assert.Equal(said, end.Status.ToString());
        Assert.Equal(graceful, end.Graceful);
    }

    [Fact]
    public async Task The_status_counts_whatever_the_HTTP_code_is()
    {
        GrpcStatus status = await EndOfAsync(context =>
        {
            context.Response.StatusCode = 503;
            context.Response.Headers["grpc-status"] = "7";
            context.Response.Headers["grpc-message"] = "no%21 %zz";
            return Task.CompletedTask;
        });
        Assert.Equal(new GrpcStatus(GrpcStatusCode.PermissionDenied, "no! %zz"), status);
    }

    [Theory]
    [InlineData("text/html", nameof(GrpcStatusCode.Unknown))]
    [InlineData("application/grpcx", nameof(GrpcStatusCode.Unknown))]
    [InlineData(null, nameof(GrpcStatusCode.Unknown))]
    [InlineData("application/grpc+proto", nameof(GrpcStatusCode.Internal))] // right type, but no trailers
    [InlineData("application/grpc;v=1", nameof(GrpcStatusCode.Internal))]
    public async Task An_answer_of_another_type_or_without_trailers_is_refused(string? type, string expected)
    {
        GrpcStatus status = await EndOfAsync(context =>
        {
            context.Response.ContentType = type;
            return Task.CompletedTask;
        });
        Assert.Equal(expected, status.Code.ToString());
    }

    [Theory]
    [InlineData("17", nameof(GrpcStatusCode.Unknown))]
    [InlineData("99999999999", nameof(GrpcStatusCode.Unknown))]
    [InlineData("-1", nameof(GrpcStatusCode.Unknown))]
    [InlineData("x", nameof(GrpcStatusCode.Unknown))]
    public async Task A_status_outside_the_table_is_unknown(string value, string expected)
    {
        GrpcStatus status = await EndOfAsync(context =>
        {
            context.Response.ContentType = "application/grpc";
            context.Response.Headers["grpc-status"] = value;
            return Task.CompletedTask;
        });
        Assert.Equal(expected, status.Code.ToString());
    }

    [Theory]
    [InlineData("0100000001FF", null, "without a grpc-encoding")]
    [InlineData("0100000001FF", "gzip", "compressed with gzip")]
    [InlineData("0200000001FF", null, "flag 2")]
    [InlineData("00000000", null, "within a message")]
    [InlineData("0000000005AABB", null, "within a message")]
    public async Task A_broken_frame_is_internal(string hex, string? encoding, string says)
    {
        GrpcStatus status = await EndOfAsync(async context =>
        {
            context.Response.ContentType = "application/grpc";
            if (encoding is not null) { context.Response.Headers["grpc-encoding"] = encoding; }
            await context.Response.Body.WriteAsync(Convert.FromHexString(hex));
            context.Response.AppendTrailer("grpc-status", "0");
        });
        Assert.Equal(GrpcStatusCode.Internal, status.Code);
        Assert.Contains(says, status.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lost_connection_is_unavailable_and_the_next_call_makes_a_new_one()
    {
        int calls = 0;
        await using RawServer server = await RawServer.StartAsync(async context =>
        {
            context.Response.ContentType = "application/grpc";
            await context.Response.Body.WriteAsync(new byte[] { 0, 0, 0, 0, 1, 65 });
            if (Interlocked.Increment(ref calls) > 1)
            {
                context.Response.AppendTrailer("grpc-status", "0");
                return;
            }
            await context.Request.Body.ReadExactlyAsync(new byte[5]);
            context.Features.Get<IConnectionLifetimeFeature>()!.Abort();
        });
        await using (IGrpcClientCall call = await server.Channel.OpenAsync("/a.B/C", [], default))
        {
            Assert.Equal("A", await call.ReadTextAsync());
            try { await call.SendAsync(default, default); }
            catch (GrpcException e) { Assert.Equal(GrpcStatusCode.Unavailable, e.Status.Code); } // the loss may be seen before the send returns
            Assert.Null(await call.ReadTextAsync());
            Assert.Equal(GrpcStatusCode.Unavailable, call.Status.Code);
            await Assert.ThrowsAsync<GrpcException>(async () => await call.SendAsync(default, default));
        }
        await using IGrpcClientCall next = await server.Channel.OpenAsync("/a.B/C", [], default).WaitAsync(Test.Deadline);
        Assert.Equal("A", await next.ReadTextAsync());
        Assert.Null(await next.ReadTextAsync());
        Assert.True(next.Status.IsOk);
    }

    private static async Task<GrpcStatus> EndOfAsync(RequestDelegate answer)
    {
        await using RawServer server = await RawServer.StartAsync(answer);
        await using IGrpcClientCall call = await server.Channel.OpenAsync("/a.B/C", [], default);
        Assert.Null(await call.ReadTextAsync());
        return call.Status;
    }
}
