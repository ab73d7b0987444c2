using Google.Protobuf;

using VmSidecar.Configuration;
using VmSidecar.Grpc;

namespace VmSidecar.Health;

/// <summary>grpc: <c>grpc.health.v1.Health/Check</c>, plaintext, on the default host. SERVING is healthy; anything else has an error text here (pilot-agent crashes on NOT_SERVING).</summary>
internal sealed class GrpcProber(GrpcProbe probe, ProbeOptions options, TimeProvider time) : IProber
{
    private const string Method = "/grpc.health.v1.Health/Check";
    private static readonly KeyValuePair<string, string>[] Metadata = [new("user-agent", "istio-probe/1.0")];

    public async Task<string?> ProbeAsync(CancellationToken stop)
    {
        string target = GoErrors.Join(options.DefaultHost, probe.Port);
        using var deadline = new CancellationTokenSource(options.Timeout, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        await using var channel = new GrpcChannel(GrpcChannelOptions.For(target) with { ConnectTimeout = options.Timeout });
        try
        {
            using GrpcMessage reply = await channel.UnaryAsync(Method, Request(probe.Service), Metadata, options.Timeout, both.Token);
            return Verdict(reply.Body.Span);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return $"failed to connect health check grpc service on port {probe.Port}: context deadline exceeded";
        }
        catch (GrpcException e)
        {
            return Explain(e.Status);
        }
    }

    /// <summary>HealthCheckRequest { string service = 1; }.</summary>
    internal static byte[] Request(string service)
    {
        if (service.Length == 0) { return []; }
        using var bytes = new MemoryStream();
        using (var output = new CodedOutputStream(bytes, leaveOpen: true))
        {
            output.WriteTag(1, WireFormat.WireType.LengthDelimited);
            output.WriteString(service);
        }
        return bytes.ToArray();
    }

    /// <summary>HealthCheckResponse { ServingStatus status = 1; }: 0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN.</summary>
    internal static string? Verdict(ReadOnlySpan<byte> reply)
    {
        int status = 0;
        try
        {
            using var input = new CodedInputStream(reply.ToArray());
            uint tag;
            while ((tag = input.ReadTag()) != 0)
            {
                if (tag == WireFormat.MakeTag(1, WireFormat.WireType.Varint)) { status = input.ReadEnum(); }
                else { input.SkipLastField(); }
            }
        }
        catch (InvalidProtocolBufferException)
        {
            return "health rpc probe failed with a reply that is no HealthCheckResponse";
        }
        return status switch
        {
            1 => null,
            0 => "service unhealthy (responded with \"UNKNOWN\")",
            2 => "service unhealthy (responded with \"NOT_SERVING\")",
            3 => "service unhealthy (responded with \"SERVICE_UNKNOWN\")",
            _ => $"service unhealthy (responded with {status})",
        };
    }

    private string Explain(GrpcStatus status) => status.Code switch
    {
        GrpcStatusCode.Unimplemented => $"service on port {probe.Port} doesn't implement the grpc health protocol grpc.health.v1.Health: {status.Message}",
        GrpcStatusCode.DeadlineExceeded => $"health rpc probe timed out after {Logging.GoDuration.Format(options.Timeout)}: {status.Message}",
        GrpcStatusCode.Unavailable => $"failed to connect health check grpc service on port {probe.Port}: {status.Message}",
        _ => $"health rpc probe failed with status {status.Code}: {status.Message}",
    };
}
