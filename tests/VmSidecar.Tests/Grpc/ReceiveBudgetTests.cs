using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.Linux;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>However many clients a unix socket has and whatever they leave half said: what they make the server hold is bounded, and given back.</summary>
public sealed class ReceiveBudgetTests : IAsyncLifetime
{
    private const int Largest = 1024 * 1024, Beside = 1024 * 1024, Block = 256 * 1024;

    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-budget-").FullName;
    private readonly TaskCompletionSource _letGo = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<GrpcStatus> _refused = new(TaskCreationOptions.RunContinuationsAsynchronously); // as the server says it: a client that is still sending may see the reset behind it instead
    private GrpcServer _server = null!;
    private GrpcChannel _channel = null!;

    private string Socket => Path.Combine(_folder, "S");

    public async ValueTask InitializeAsync()
    {
        _server = new GrpcServer(GrpcServerOptions.OnSocket("test", Socket) with { MaxReceive = Largest, Beside = Beside }, GrpcPair.Methods(HoldAsync), NullLogger.Instance);
        await _server.StartAsync(CancellationToken.None);
        _channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + Socket));
    }

    public async ValueTask DisposeAsync()
    {
        _letGo.TrySetResult();
        await _channel.DisposeAsync();
        await _server.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        Assert.Equal(0, _server.Held); // nothing is lost
        _server.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Clients_that_leave_their_messages_unfinished_hold_the_budget_and_no_more()
    {
        using var strangers = new Strangers(Socket);
        const int Fit = (Largest + Beside) / ((3 * Block) + ReceiveBudget.PerCall);
        for (int i = 0; i < Fit; i++)
        {
            _ = strangers.SayAsync(announced: Largest, sent: 600 * 1024); // three blocks
            int calls = i + 1;
            await Test.UntilAsync(() => _server.Held == calls * ((3L * Block) + ReceiveBudget.PerCall));
        }
        Task more = strangers.SayAsync(announced: Largest, sent: Largest); // not this one
        GrpcStatus refused = await _refused.Task.WaitAsync(Test.Deadline);
        Assert.Equal(GrpcStatusCode.ResourceExhausted, refused.Code);
        Assert.StartsWith("the requests of all local clients hold ", refused.Message, StringComparison.Ordinal);
        await more.WaitAsync(Test.Deadline);
        await Test.UntilAsync(() => _server.Held == Fit * ((3L * Block) + ReceiveBudget.PerCall));
        await using IGrpcClientCall small = await OpenAsync();
        await small.SendAsync(new byte[1000], default); // who asks for little still gets it
        Assert.Equal("1000", await small.ReadTextAsync());
        strangers.Dispose();
        await small.CompleteAsync(default);
        Assert.Null(await small.ReadTextAsync());
        await Test.UntilAsync(() => _server.Held == 0);
    }

    [Fact]
    public async Task A_message_costs_until_it_is_let_go_and_the_largest_passes_beside_what_others_hold()
    {
        await using IGrpcClientCall holder = await OpenAsync(), next = await OpenAsync(), last = await OpenAsync();
        await holder.SendAsync(Held(Beside - Block), default);
        Assert.Equal("held", await holder.ReadTextAsync());
        await next.SendAsync(new byte[Largest], default);
        Assert.Equal("1048576", await next.ReadTextAsync());
        await next.SendAsync(Held(Largest), default);
        Assert.Equal("held", await next.ReadTextAsync());
        Task sending = last.SendAsync(new byte[Largest], default).AsTask();
        Assert.Equal(GrpcStatusCode.ResourceExhausted, (await _refused.Task.WaitAsync(Test.Deadline)).Code);
        await Task.WhenAny(sending).WaitAsync(Test.Deadline); // refused before all of it was out, or not
        await next.SendAsync(new byte[10], default); // the others go on
        _letGo.SetResult();
        Assert.Equal("10", await next.ReadTextAsync());
        await using IGrpcClientCall again = await OpenAsync();
        await again.SendAsync(new byte[Largest], default);
        Assert.Equal("1048576", await again.ReadTextAsync());
    }

    [Fact]
    public async Task Empty_messages_and_silent_calls_are_not_free()
    {
        await using IGrpcClientCall holder = await OpenAsync();
        await holder.SendAsync(Held(2), default);
        Assert.Equal("held", await holder.ReadTextAsync());
        const int Message = ReceiveBudget.PerMessage + 2, Fit = (Largest + Beside - Message) / ReceiveBudget.PerCall;
        Assert.Equal(ReceiveBudget.PerCall + Message, _server.Held);
        var silent = new List<IGrpcClientCall>();
        for (int i = 1; i < Fit; i++) { silent.Add(await OpenAsync()); }
        await Test.UntilAsync(() => _server.Held == (Fit * ReceiveBudget.PerCall) + Message);
        await using IGrpcClientCall refused = await OpenAsync();
        Assert.Null(await refused.ReadTextAsync());
        Assert.Equal(GrpcStatusCode.ResourceExhausted, refused.Status.Code);
        foreach (IGrpcClientCall call in silent) { await call.DisposeAsync(); }
    }

    [Fact]
    public void Strangers_cannot_use_up_what_Envoy_needs()
    {
        var budgets = new ReceiveBudgets(1000);
        ReceiveBudget strangers = budgets.Of(12_345u);
        strangers.Take(1000);
        Assert.Same(strangers, budgets.Of(54_321u)); // many users have no more than one
        Assert.Same(strangers, budgets.Of((uint?)null));
        Assert.Equal("the requests of all local clients hold 1000 bytes together and may hold 1000; try again later", Assert.Throws<GrpcException>(() => strangers.Take(1)).Status.Message);
        budgets.Of(0u).Take(400);
        budgets.Of(PeerCredentials.OwnUserId).Take(600);
        Assert.Equal(2000, budgets.Held);
        strangers.Return(1);
        strangers.Take(1);
    }

    private Task<IGrpcClientCall> OpenAsync() => _channel.OpenAsync(GrpcPair.Method, [], default).WaitAsync(Test.Deadline);

    private static byte[] Held(int length)
    {
        byte[] message = new byte[length];
        message[0] = 1;
        return message;
    }

    /// <summary>Answers a message with its length, after it is disposed; one that begins with 1 is kept until the test lets go.</summary>
    private async Task<GrpcStatus> HoldAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        GrpcMessage? kept = null;
        try
        {
            while (await call.ReadAsync(aborted) is { } message)
            {
                int length = message.Length;
                if (message.Pieces.First() is { Length: > 0 } first && first.Span[0] == 1)
                {
                    kept = message;
                    await call.SendAsync("held"u8.ToArray(), aborted);
                    continue;
                }
                message.Dispose();
                if (kept is not null)
                {
                    await _letGo.Task.WaitAsync(aborted);
                    kept.Dispose();
                }
                await call.SendAsync(System.Text.Encoding.ASCII.GetBytes($"{length}"), aborted);
            }
            return GrpcStatus.Ok;
        }
        catch (GrpcException e)
        {
            _refused.TrySetResult(e.Status);
            throw;
        }
        finally { kept?.Dispose(); }
    }

    /// <summary>Each call on a connection of its own; they announce more than they send, and stay.</summary>
    private sealed class Strangers(string socket) : IDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly List<HttpClient> _clients = [];

        /// <summary>Ends with the call.</summary>
        public async Task SayAsync(int announced, int sent)
        {
            var client = new HttpClient(new SocketsHttpHandler { ConnectCallback = ConnectAsync }) { Timeout = Timeout.InfiniteTimeSpan };
            _clients.Add(client);
            using var request = new HttpRequestMessage(HttpMethod.Post, "http://local" + GrpcPair.Method) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
            request.Content = new Unfinished(announced, sent, _stop.Token);
            request.Content.Headers.ContentType = new("application/grpc");
            try
            {
                using HttpResponseMessage response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, _stop.Token);
            }
            catch (Exception e) when (e is OperationCanceledException or HttpRequestException) { }
        }

        public void Dispose()
        {
            _stop.Cancel();
            foreach (HttpClient client in _clients) { client.Dispose(); }
        }

        private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken stop)
        {
            var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), stop);
            return new NetworkStream(connection, ownsSocket: true);
        }
    }

    /// <summary>The prefix of a message, a part of it, then nothing until the end.</summary>
    private sealed class Unfinished(int announced, int sent, CancellationToken end) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            byte[] frame = new byte[5 + sent];
            BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(1), announced);
            await stream.WriteAsync(frame, end);
            await stream.FlushAsync(end);
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, end);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
