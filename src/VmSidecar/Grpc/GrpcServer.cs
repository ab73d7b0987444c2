using System.Net;
using System.Net.Security;

using Microsoft.Extensions.Logging;

using VmSidecar.Lifecycle;

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
    /// <summary>A server on a unix socket with a 200 MiB message limit.</summary>
    public static GrpcServerOptions OnSocket(string name, string path) => new(name, path, null, null, 200 * 1024 * 1024);
}

/// <summary>A gRPC server over Kestrel: raw frames by method path; unknown methods get UNIMPLEMENTED.</summary>
internal sealed class GrpcServer(GrpcServerOptions options, IReadOnlyDictionary<string, GrpcHandler> methods, ILogger log) : IComponent
{
    public string Name => options.Name;

    /// <summary>The TCP address really bound (port 0 resolved); null on a unix socket or before start.</summary>
    public IPEndPoint? Bound { get; private set; }

    public Task Completion { get; } = new TaskCompletionSource().Task;

    public Task StartAsync(CancellationToken startup)
    {
        _ = methods;
        _ = log;
        throw new NotSupportedException();
    }

    public Task StopAsync(CancellationToken hard) => Task.CompletedTask;
}
