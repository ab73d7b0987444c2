using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.Grpc;
using VmSidecar.Proto.Ca;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>istio.v1.auth.IstioCertificateService: read, script, authenticate, check, sign. Records every call. Owned by FakeIstiod.</summary>
internal sealed class CertificateService(Authenticator authenticator, FakeCa ca, IstiodOptions options, StateSignal changed)
{
    public const string Method = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

    /// <summary>One script per coming call, first come first served; none left: normal.</summary>
    public ConcurrentQueue<CaScript> Scripts { get; } = new();

    /// <summary>Used for every call while set; the queue comes first.</summary>
    public CaScript? Always { get; set; }

    /// <summary>Every call so far.</summary>
    public ConcurrentQueue<CaCall> Calls { get; } = new();

    /// <summary>Serves one call.</summary>
    public async Task<GrpcStatus> HandleAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        IstioCertificateRequest request;
        using (GrpcMessage? message = await call.ReadAsync(aborted))
        {
            if (message is null) { return new(GrpcStatusCode.Internal, "no request"); }
            try { request = IstioCertificateRequest.Parser.ParseFrom(message.Body.Span); }
            catch (InvalidProtocolBufferException e) { return new(GrpcStatusCode.Internal, "grpc: error unmarshalling request: " + e.Message); }
        }
        CaScript? script = Scripts.TryDequeue(out CaScript? next) ? next : Always;
        Caller? caller = script is CaScript.Fail ? null : authenticator.Authenticate(call);
        GrpcStatus status = await AnswerAsync(call, request, script, caller, aborted);
        Calls.Enqueue(Record(call, request, caller, status));
        changed.Raise();
        return status;
    }

    private async Task<GrpcStatus> AnswerAsync(IGrpcServerCall call, IstioCertificateRequest request, CaScript? script, Caller? caller, CancellationToken aborted)
    {
        if (script is CaScript.Fail fail) { return new(fail.Code, fail.Message); }
        if (script is CaScript.Hang) { await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, aborted); }
        if (caller is null) { return new(GrpcStatusCode.Unauthenticated, "request authenticate failure"); }
        if (options.RegistrationAuthority && CsrRules.Refuse(request.Csr, caller, options.Version) is { } refused)
        {
            return new(GrpcStatusCode.InvalidArgument, refused);
        }
        string csr = script is CaScript.WrongKey ? ForeignCsr() : request.Csr;
        string subject = script is CaScript.WrongIdentity wrong ? wrong.SpiffeId : caller.Primary;
        if (ca.SignCsr(csr, subject, request.ValidityDuration, out string refusal) is not { } chain) { return new(GrpcStatusCode.InvalidArgument, refusal); }
        if (script is CaScript.Slow slow) { await Task.Delay(slow.By, options.Time, aborted); }
        var response = new IstioCertificateResponse { CertChain = { script is CaScript.Truncate cut ? chain.Take(cut.Elements) : chain } };
        await call.SendAsync(script is CaScript.Garbage ? "\x0a\xff\xff\xff\xff\x0f no message"u8.ToArray() : response.ToByteArray(), aborted);
        return GrpcStatus.Ok;
    }

    private static string ForeignCsr()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return new CertificateRequest("O=other", key, HashAlgorithmName.SHA256).CreateSigningRequestPem() + "\n";
    }

    private static CaCall Record(IGrpcServerCall call, IstioCertificateRequest request, Caller? caller, GrpcStatus status)
    {
        string? signer = request.Metadata is null ? null : request.Metadata.Fields.TryGetValue("CertSigner", out Value? value) ? value.StringValue : null;
        return new CaCall(
            request.Csr, request.ValidityDuration, signer, call.Metadata("authorization"), call.Metadata("clusterid"),
            call.ClientCertificate?.Thumbprint, caller, status);
    }
}
