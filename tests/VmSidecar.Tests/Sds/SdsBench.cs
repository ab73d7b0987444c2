using Google.Protobuf;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Proto.Discovery;
using VmSidecar.Proto.Tls;
using VmSidecar.Sds;
using VmSidecar.TestKit;
using VmSidecar.Tests.Identity;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>An SDS server on real sockets, with secrets that a test sets.</summary>
internal sealed class SdsBench : IAsyncDisposable
{
    private const string Service = "/envoy.service.secret.v3.SecretDiscoveryService/";
    private readonly SdsServer _server;

    public SdsBench(string? crl = null, TimeProvider? time = null, Func<SdsOptions, SdsOptions>? change = null)
    {
        Socket = Folder.At("uds", "socket");
        var options = new SdsOptions([Socket, Folder.At("SDS")], crl, new HostPaths(Folder.Path));
        _server = new SdsServer(change?.Invoke(options) ?? options, Secrets, Status, new Instruments(time ?? TimeProvider.System, Log, Metrics));
    }

    public Folder Folder { get; } = new();
    public string Socket { get; }
    public ListLog Log { get; } = new();
    public MetricRegistry Metrics { get; } = new();
    public Published<WorkloadSecrets> Secrets { get; } = new();
    public Published<IdentityStatus> Status { get; } = new();

    public static async Task<SdsBench> StartedAsync(string? crl = null, TimeProvider? time = null, Func<SdsOptions, SdsOptions>? change = null)
    {
        var bench = new SdsBench(crl, time, change);
        await bench._server.StartAsync(CancellationToken.None);
        return bench;
    }

    /// <summary>Publishes texts that stand for certificates: SDS does not look into them.</summary>
    public void Set(int version, int rootVersion = 1)
    {
        var from = new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
        Secrets.Set(new WorkloadSecrets($"chain{version}", $"key{version}", $"roots{rootVersion}", from, from.AddHours(24), from, $"{version}"));
    }

    /// <summary>Waits until the server has acted on so many requests: the moment after a request that is met with silence.</summary>
    public async Task TakenAsync(int requests)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (Metrics.Counter("sds_requests", "").Value < requests) { await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, limit.Token); }
    }

    /// <summary>Waits until a line with this text is logged.</summary>
    public async Task LoggedAsync(string text)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (!Log.Lines.Any(l => l.Contains(text, StringComparison.Ordinal))) { await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, limit.Token); }
    }

    public Task<SdsClient> ConnectAsync(string? socket = null, string method = "StreamSecrets") => OpenAsync(socket ?? Socket, method);

    public static async Task<SdsClient> OpenAsync(string socket, string method = "StreamSecrets")
    {
        var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + socket));
        return new SdsClient(channel, await channel.OpenAsync(Service + method, [], CancellationToken.None));
    }

    public async ValueTask DisposeAsync()
    {
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await _server.StopAsync(hard.Token);
        Folder.Dispose();
    }
}

/// <summary>Envoy's side of one stream.</summary>
internal sealed class SdsClient(GrpcChannel channel, IGrpcClientCall call) : IAsyncDisposable
{
    public Task AskAsync(string[] names, string nonce = "", string node = "vm", string version = "", Proto.Discovery.Status? error = null, string type = SecretMessages.TypeUrl) =>
        SendAsync(new DiscoveryRequest
        {
            ResourceNames = { names }, ResponseNonce = nonce, VersionInfo = version, TypeUrl = type, ErrorDetail = error,
            Node = node.Length > 0 ? new Node { Id = node } : null,
        });

    public Task SendAsync(IMessage request) => call.SendAsync(request.ToByteArray(), CancellationToken.None).AsTask();

    public Task SendAsync(byte[] request) => call.SendAsync(request, CancellationToken.None).AsTask();

    public async Task<DiscoveryResponse> NextAsync()
    {
        using GrpcMessage? message = await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.True(message is not null, message is null ? call.Status.ToString() : "");
        return DiscoveryResponse.Parser.ParseFrom(message!.Body.Span);
    }

    public async Task<DeltaDiscoveryResponse> NextDeltaAsync()
    {
        using GrpcMessage? message = await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.True(message is not null, message is null ? call.Status.ToString() : "");
        return DeltaDiscoveryResponse.Parser.ParseFrom(message!.Body.Span);
    }

    /// <summary>How the server ended the stream; fails on another response.</summary>
    public async Task<GrpcStatus> EndAsync()
    {
        Assert.Null(await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        return call.Status;
    }

    public static Secret[] Of(DiscoveryResponse response) => [.. response.Resources.Select(r => Secret.Parser.ParseFrom(r.Value))];

    public static string Text(DataSource source) => source.InlineBytes.ToStringUtf8();

    public async ValueTask DisposeAsync()
    {
        await call.DisposeAsync();
        await channel.DisposeAsync();
    }
}
