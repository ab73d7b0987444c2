using System.Collections.Immutable;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Proto.Ca;

namespace VmSidecar.Identity;

/// <summary>The answer of one signing operation: the chain as it came, or why there is none.</summary>
internal readonly record struct CaResult(ImmutableArray<string> Chain, CaFailure? Failure, DateTimeOffset SentAt, DateTimeOffset AnsweredAt);

/// <summary>
/// Speaks <c>istio.v1.auth.IstioCertificateService/CreateCertificate</c>. One operation is at most five attempts within half a minute, each on
/// a connection of its own, so roots, certificate and token are those of that moment. Owned by CertificateRotator, which owns the long back-off.
/// </summary>
internal sealed partial class CaClient(IdentityOptions options, IstiodAccess istiod, TimeProvider time, ILogger log, MetricRegistry metrics)
{
    private const string Method = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
    private const string Labels = "request_type=\"csr\"";
    private const int Attempts = 5;
    private static readonly TimeSpan AttemptLimit = TimeSpan.FromSeconds(10); // an istiod that accepts but never answers
    private static readonly TimeSpan OperationLimit = TimeSpan.FromSeconds(30);
    private static readonly Backoff Waits = new(TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(800), 2, 0.1);

    private readonly Counter _requests = metrics.Counter("num_outgoing_requests", "Signing operations begun.", Labels);
    private readonly Counter _failures = metrics.Counter("num_failed_outgoing_requests", "Signing operations that failed.", Labels);
    private readonly Counter _retries = metrics.Counter("num_outgoing_retries", "Attempts after the first within signing operations.", Labels);
    private readonly Counter _latency = metrics.Counter("outgoing_latency", "Milliseconds spent in signing operations.", Labels);

    /// <summary>Sends the request until it is answered, refused for good, or the attempts are used up.</summary>
    /// <param name="csrPem">The signing request.</param>
    /// <param name="quiet">True during an outage that has been told already. Else the first retry is a warning; the others are debug lines always.</param>
    /// <param name="stop">Ends the operation.</param>
    public async Task<CaResult> SignAsync(string csrPem, bool quiet, CancellationToken stop)
    {
        _requests.Add();
        long begin = time.GetTimestamp();
        byte[] request = Encode(csrPem);
        CaResult result;
        for (int attempt = 1; ; attempt++)
        {
            result = await TryOnceAsync(request, stop);
            if (result.Failure is not { MayRetrySoon: true } || attempt == Attempts || time.GetElapsedTime(begin) > OperationLimit) { break; }
            TimeSpan wait = Waits.After(attempt, Random.Shared.NextDouble());
            string shown = Logging.GoDuration.Format(wait);
            Retrying(log, quiet || attempt > 1 ? LogLevel.Debug : LogLevel.Warning, attempt, shown); // the first tells of the change
            _retries.Add();
            await Task.Delay(wait, time, stop);
        }
        _latency.Add((long)time.GetElapsedTime(begin).TotalMilliseconds);
        if (result.Failure is not null) { _failures.Add(); }
        return result;
    }

    private async Task<CaResult> TryOnceAsync(byte[] request, CancellationToken stop)
    {
        DateTimeOffset sent = time.GetUtcNow();
        await using var channel = new GrpcChannel(istiod.CaChannel());
        try
        {
            using GrpcMessage answer = await channel.UnaryAsync(Method, request, istiod.CaMetadata(), AttemptLimit, stop);
            istiod.NoteAnswered();
            IstioCertificateResponse response = IstioCertificateResponse.Parser.ParseFrom(answer.Body.Span);
            return response.CertChain.Count < 2
                ? new([], CaFailure.BadAnswer("invalid empty CertChain"), sent, time.GetUtcNow())
                : new([.. response.CertChain], null, sent, time.GetUtcNow());
        }
        catch (InvalidProtocolBufferException)
        {
            return new([], CaFailure.BadAnswer("the answer is not an IstioCertificateResponse"), sent, time.GetUtcNow());
        }
        catch (GrpcException e)
        {
            CaFailure failure = CaFailure.From(e, istiod.HasPresented);
            if (failure.Reason == CaFailureReason.CertificateRefused) { istiod.NoteLostConnection(); }
            return new([], failure, sent, time.GetUtcNow());
        }
    }

    private byte[] Encode(string csrPem) => new IstioCertificateRequest
    {
        Csr = csrPem,
        ValidityDuration = (long)options.Ttl.TotalSeconds,
        Metadata = new Struct { Fields = { ["CertSigner"] = Value.ForString(options.CertSigner) } },
    }.ToByteArray();

    [LoggerMessage(EventId = 1, Message = "ca request failed, starting attempt {Attempt} in {Wait}")]
    private static partial void Retrying(ILogger log, LogLevel level, int attempt, string wait);
}
