using System.Net.Security;

namespace VmSidecar.Grpc;

/// <summary>Where a channel goes and how it behaves.</summary>
/// <param name="Target"><c>host:port</c>, <c>[v6]:port</c> or <c>unix:/path</c>.</param>
/// <param name="Tls">Makes the TLS options for each new connection (roots, client certificate, server name are read then); null means plaintext HTTP/2 with prior knowledge.</param>
/// <param name="Authority">The <c>:authority</c> sent, normally the TLS server name without port; null: from the target.</param>
/// <param name="ConnectTimeout">TCP and TLS together.</param>
/// <param name="KeepAliveInterval">HTTP/2 PING after this much silence while a call is open.</param>
/// <param name="KeepAliveTimeout">The connection is dead when a PING stays unanswered for this long.</param>
/// <param name="MaxReceive">Largest message accepted, bytes; a larger one ends the call with RESOURCE_EXHAUSTED.</param>
internal sealed record GrpcChannelOptions(
    string Target,
    Func<SslClientAuthenticationOptions>? Tls,
    string? Authority,
    TimeSpan ConnectTimeout,
    TimeSpan KeepAliveInterval,
    TimeSpan KeepAliveTimeout,
    int MaxReceive)
{
    /// <summary>Told what the server's clock says where an answer has a Date header (RFC 9110 §6.6.1); null: nobody asks. gRPC servers send none, gateways before them do.</summary>
    public Action<DateTimeOffset>? OnDate { get; init; }

    /// <summary>The defaults of the classic agent: PING after 30 s, dead after 10 s, 200 MiB, 10 s to connect.</summary>
    public static GrpcChannelOptions For(string target, Func<SslClientAuthenticationOptions>? tls = null, string? authority = null) =>
        new(target, tls, authority, TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(10), 200 * 1024 * 1024);
}
