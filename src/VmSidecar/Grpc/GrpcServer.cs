using System.Net;
using System.Net.Security;
using System.Net.Sockets;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Grpc;

/// <summary>Where a server listens and what it accepts.</summary>
/// <param name="Name">Component name.</param>
/// <param name="UnixSocket">Path of a unix socket (made 0666, an old file removed, parent made 0750 if missing), or null.</param>
/// <param name="EndPoint">TCP address, or null.</param>
/// <param name="Tls">TLS for <paramref name="EndPoint"/>, per connection; null: plaintext HTTP/2 with prior knowledge.</param>
/// <param name="MaxReceive">Largest message accepted, bytes.</param>
internal sealed record GrpcServerOptions(
    string Name,
    string? UnixSocket,
    IPEndPoint? EndPoint,
    Func<SslServerAuthenticationOptions>? Tls,
    int MaxReceive)
{
    /// <summary>Whether a local user may connect to <see cref="UnixSocket"/>, by uid; null: everybody.</summary>
    public Func<uint, bool>? AllowsUser { get; init; }

    /// <summary>What the Date header of answers says, null for none; unset: the time, as Kestrel writes it.</summary>
    public Func<DateTimeOffset?>? Date { get; init; }

    /// <summary>Smaller limits than <see cref="MaxReceive"/>, bytes, by path of the method.</summary>
    public IReadOnlyDictionary<string, int> MaxReceiveOf { get; init; } = new Dictionary<string, int>();

    /// <summary>What all clients of <see cref="UnixSocket"/> of one sort (<see cref="ReceiveBudgets"/>) may hold in requests beside one of <see cref="MaxReceive"/>, bytes.</summary>
    public int Beside { get; init; } = 64 * 1024 * 1024;

    /// <summary>What may wait in the kernel, bytes, for a client of the agent's own sort (<see cref="ReceiveBudgets"/>) on <see cref="UnixSocket"/>; 0: as much as the kernel gives.</summary>
    public int SendBuffer { get; init; }

    /// <summary>Where the unix socket comes from, when the agent before this one in the process has left it, and where it is noted for the next one.</summary>
    public ListeningSockets Sockets { get; init; } = new();

    /// <summary>A server on a unix socket with a 200 MiB message limit.</summary>
    public static GrpcServerOptions OnSocket(string name, string path) => new(name, path, null, null, 200 * 1024 * 1024);
}

/// <summary>A gRPC server over Kestrel: raw frames by method path; unknown methods get UNIMPLEMENTED.</summary>
internal sealed class GrpcServer(GrpcServerOptions options, IReadOnlyDictionary<string, GrpcHandler> methods, ILogger log) : IComponent, IReplaceable, IDisposable
{
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ReceiveBudgets _budgets = new(options.UnixSocket is null ? long.MaxValue : (long)options.MaxReceive + options.Beside);
    private WebApplication? _app;

    public string Name => options.Name;

    /// <summary>Bytes that clients hold in requests and calls now.</summary>
    public long Held => _budgets.Held;

    /// <summary>The TCP address really bound (port 0 resolved); null on a unix socket or before start.</summary>
    public IPEndPoint? Bound { get; private set; }

    public Task Completion => _completion.Task;

    public async Task StartAsync(CancellationToken startup)
    {
        MakeFolder();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton<IHostLifetime, NoSignals>();
        // Calls are all asynchronous: their next step runs where the socket reported, one thread switch less per message.
        builder.WebHost.UseSockets(sockets =>
        {
            sockets.UnsafePreferInlineScheduling = true;
            sockets.CreateBoundListenSocket = Open;
        });
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(Configure);
        _app = builder.Build();
        var exchange = new GrpcExchange(options, methods, _budgets, log, _stopping.Token);
        _app.Run(exchange.RunAsync);
        try { await _app.StartAsync(startup); }
        catch (IOException e) { throw CannotListen(e); }
        catch (SocketException e) { throw CannotListen(e); }
        catch (UnauthorizedAccessException e) { throw CannotListen(e); }
        TakeAddress();
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await LeaveAsync(hard);
        if (_app is not null && options.UnixSocket is { } path) { File.Delete(path); }
    }

    /// <summary>The same, but the path of the unix socket stays: whoever goes on with the socket is reached by it.</summary>
    public async Task LeaveAsync(CancellationToken hard)
    {
        await _stopping.CancelAsync(); // 1. handlers end their calls, each with a status
        if (_app is not null)
        {
            try { await _app.StopAsync(hard); } // 2. GOAWAY, wait for the calls, abort the rest when `hard` fires
            catch (OperationCanceledException) when (hard.IsCancellationRequested) { }
            await _app.DisposeAsync();
        }
        _completion.TrySetResult();
    }

    public void Dispose() => _stopping.Dispose();

    private void Configure(KestrelServerOptions kestrel)
    {
        kestrel.AddServerHeader = false;
        kestrel.AllowSynchronousIO = false;
        Limit(kestrel.Limits);
        if (options.UnixSocket is { } path) { kestrel.ListenUnixSocket(path, ConfigureUnix); }
        if (options.EndPoint is { } endPoint) { kestrel.Listen(endPoint, ConfigureTcp); }
    }

    /// <summary>What a call may take and last.</summary>
    internal static void Limit(KestrelServerLimits limits)
    {
        // Envoy's main thread may stall for seconds and streams live for hours: no rate, no size, no count that ends them.
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null;
        limits.MaxRequestBodySize = null;
        limits.MaxResponseBufferSize = 1024 * 1024; // what may wait for a slow client, per connection; large pushes need fewer turns
        limits.Http2.MaxStreamsPerConnection = 100_000;
        limits.Http2.InitialStreamWindowSize = 1024 * 1024; // what an unread call may hold, per call
        limits.Http2.InitialConnectionWindowSize = 4 * 1024 * 1024;
        limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(30); // a peer that vanished without a word
        limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
    }

    private void ConfigureUnix(ListenOptions listen)
    {
        listen.Protocols = HttpProtocols.Http2;
        listen.Use(next => connection => Admit(connection) ? next(connection) : Task.CompletedTask); // before HTTP: whoever may not ask is not even heard
    }

    private bool Admit(ConnectionContext connection)
    {
        if (connection.Features.Get<IConnectionSocketFeature>()?.Socket is not { } socket || PeerCredentials.Of(socket) is not { } peer) { return true; }
        if (options.AllowsUser is { } allows && !allows(peer.UserId)) { return false; }
        if (options.SendBuffer > 0 && ReceiveBudgets.IsOwn(peer.UserId)) { SendBuffer.Widen(socket, options.SendBuffer); }
        return true;
    }

    private void ConfigureTcp(ListenOptions listen)
    {
        listen.Protocols = HttpProtocols.Http2;
        if (options.Tls is not { } tls) { return; }
        listen.UseHttps(new TlsHandshakeCallbackOptions
        {
            OnConnection = _ => ValueTask.FromResult(tls()),
            HandshakeTimeout = TimeSpan.FromSeconds(10),
        });
    }

    private Socket Open(EndPoint endPoint) => endPoint is UnixDomainSocketEndPoint && options.UnixSocket is { } path
        ? options.Sockets.Take(SocketName(path), () => Bind(path))
        : SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);

    /// <summary>What <see cref="ListeningSockets"/> knows a unix socket by.</summary>
    public static string SocketName(string path) => "unix " + path;

    private static Socket Bind(string path)
    {
        File.Delete(path); // left by an earlier run, perhaps of another user
        return UnixListener.Bind(path);
    }

    private void MakeFolder()
    {
        if (options.UnixSocket is not { } path) { return; }
        try
        {
            if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } parent && !Directory.Exists(parent))
            {
                Directory.CreateDirectory(parent, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute);
            }
        }
        catch (IOException e) { throw CannotListen(e); }
        catch (UnauthorizedAccessException e) { throw CannotListen(e); }
    }

    private void TakeAddress()
    {
        if (options.UnixSocket is { } path)
        {
            const UnixFileMode All = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
            File.SetUnixFileMode(path, All); // Envoy may run as another user
        }
        if (options.EndPoint is null) { return; }
        ICollection<string> addresses = _app!.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;
        foreach (string address in addresses)
        {
            if (Uri.TryCreate(address, UriKind.Absolute, out Uri? uri) && IPAddress.TryParse(uri.Host.Trim('[', ']'), out IPAddress? ip)) { Bound = new IPEndPoint(ip, uri.Port); }
        }
    }

    private FatalException CannotListen(Exception cause) => new(
        options.Name,
        $"cannot listen on {options.UnixSocket ?? options.EndPoint?.ToString()}: {cause.InnerException?.Message ?? cause.Message}",
        options.UnixSocket is null ? "Find who holds the port with 'ss -ltnp' and stop it, or choose another port" : "Check owner and mode of the folder and that no other agent runs",
        cause);

    /// <summary>Signals belong to the process, not to one of its servers: the default lifetime would catch SIGTERM.</summary>
    private sealed class NoSignals : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
