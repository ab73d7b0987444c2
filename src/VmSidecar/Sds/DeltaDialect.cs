using System.Security.Cryptography;
using System.Text;

using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;

namespace VmSidecar.Sds;

/// <summary>
/// Incremental SDS over <c>DeltaSecrets</c>: each response carries only what changed, each resource its own version. The version is a hash of
/// the content, so a client that comes back with what it has is not sent it again. Names that do not exist are reported as removed; the stream stays.
/// </summary>
internal sealed class DeltaDialect(SecretContext use) : ISecretDialect
{
    private static readonly MessageParser<DeltaDiscoveryRequest> Parser = DeltaDiscoveryRequest.Parser.WithDiscardUnknownFields(true);
    private readonly List<string> _removed = [];
    private bool _introduced;
    private string? _lastNonce;

    public GrpcStatus? Take(ReadOnlySpan<byte> request)
    {
        DeltaDiscoveryRequest asked;
        try { asked = Parser.ParseFrom(request); }
        catch (InvalidProtocolBufferException) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, "not a DeltaDiscoveryRequest"); }
        if (asked.TypeUrl == SecretContext.HealthType) { return null; }
        if (asked.TypeUrl.Length > 0 && asked.TypeUrl != SecretMessages.TypeUrl) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, $"this server has only {SecretMessages.TypeUrl}"); }
        if (!_introduced)
        {
            if (string.IsNullOrEmpty(asked.Node?.Id)) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, "missing node information"); }
            _introduced = true;
            use.Log.Opened(use.Number);
        }
        Judge(asked);
        Subscribe(asked);
        return null;
    }

    public byte[]? NextResponse()
    {
        IReadOnlyList<(string Name, SecretValue Value)> secrets = use.Watch.Next();
        if (secrets.Count == 0 && _removed.Count == 0) { return null; }
        _lastNonce = SecretMessages.NextNonce();
        var response = new DeltaDiscoveryResponse
        {
            SystemVersionInfo = SecretMessages.NextVersion(use.Time.GetUtcNow()), TypeUrl = SecretMessages.TypeUrl, Nonce = _lastNonce, RemovedResources = { _removed },
        };
        response.Resources.AddRange(secrets.Select(s => new Resource { Name = s.Name, Version = VersionOf(s.Value, use.Catalog.Crl), Resource_ = SecretMessages.Encode(s.Name, s.Value, use.Catalog.Crl.File, use.Catalog.KeyProvider) }));
        _removed.Clear();
        if (secrets.Count > 0) { use.Log.Pushed(secrets); }
        use.Meters.Pushes.Add();
        return response.ToByteArray();
    }

    /// <summary>A version that tells content apart without telling anything of it: it goes over the wire and into Envoy's config dump.</summary>
    internal static string VersionOf(SecretValue value, CrlState crl) => Convert.ToHexStringLower(
        SHA256.HashData(Encoding.UTF8.GetBytes(value.ChainPem + "\0" + value.RootsPem + (value.RootsPem is null ? "" : crl.Stamp))).AsSpan(0, 8));

    /// <summary>In delta an acknowledgement changes nothing; only a rejection is worth a word.</summary>
    private void Judge(DeltaDiscoveryRequest asked)
    {
        if (asked.ResponseNonce.Length > 0 && asked.ResponseNonce != _lastNonce) { use.Meters.ExpiredNonces.Add(); }
        if (asked.ErrorDetail is not { } error) { return; }
        use.Log.Rejected(use.Number, error.Code, error.Message);
        use.Meters.Rejects.Add();
    }

    private void Subscribe(DeltaDiscoveryRequest asked)
    {
        foreach (string name in asked.ResourceNamesUnsubscribe) { use.Watch.Remove(name); }
        foreach (string name in asked.ResourceNamesSubscribe)
        {
            if (!use.Watch.TryAdd(name))
            {
                use.Log.Refused(use.Number, name);
                _removed.Add(name);
            }
        }
        foreach ((string name, string version) in asked.InitialResourceVersions) { use.Watch.AlreadyHas(name, value => VersionOf(value, use.Catalog.Crl) == version); }
    }
}
