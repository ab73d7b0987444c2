using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;

namespace VmSidecar.Sds;

/// <summary>State of the world over <c>StreamSecrets</c>: the newer agent's rules, where a changed list of names is answered with the added ones only.</summary>
internal sealed class SotwDialect(SecretContext use) : ISecretDialect
{
    private static readonly MessageParser<DiscoveryRequest> Parser = DiscoveryRequest.Parser.WithDiscardUnknownFields(true);
    private bool _introduced;
    private string? _lastNonce;

    public GrpcStatus? Take(ReadOnlySpan<byte> request)
    {
        DiscoveryRequest asked;
        try { asked = Parser.ParseFrom(request); }
        catch (InvalidProtocolBufferException) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, "not a DiscoveryRequest"); }
        if (asked.TypeUrl == SecretContext.HealthType) { return null; }
        if (asked.TypeUrl.Length > 0 && asked.TypeUrl != SecretMessages.TypeUrl) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, $"this server has only {SecretMessages.TypeUrl}"); }
        if (!_introduced)
        {
            if (string.IsNullOrEmpty(asked.Node?.Id)) { return new GrpcStatus(GrpcStatusCode.InvalidArgument, "missing node information"); }
            _introduced = true;
            use.Log.Opened(use.Number);
        }
        return Subscribe(asked);
    }

    public byte[]? NextResponse()
    {
        IReadOnlyList<(string Name, SecretValue Value)> secrets = use.Watch.Next();
        if (secrets.Count == 0) { return null; }
        _lastNonce = SecretMessages.NextNonce();
        var response = new DiscoveryResponse { VersionInfo = SecretMessages.NextVersion(use.Time.GetUtcNow()), TypeUrl = SecretMessages.TypeUrl, Nonce = _lastNonce };
        response.Resources.AddRange(secrets.Select(s => SecretMessages.Encode(s.Name, s.Value, use.Catalog.Crl.File, use.Catalog.KeyProvider)));
        use.Log.Pushed(secrets);
        use.Meters.Pushes.Add();
        return response.ToByteArray();
    }

    /// <summary>The five rules in their order: rejected, unsubscribed, new watch, stale, acknowledged.</summary>
    private GrpcStatus? Subscribe(DiscoveryRequest asked)
    {
        if (asked.ErrorDetail is { } error) // 1. nothing is sent until the next change
        {
            use.Log.Rejected(use.Number, error.Code, error.Message);
            use.Meters.Rejects.Add();
            return null;
        }
        if (asked.ResourceNames.Count == 0) // 2.
        {
            use.Watch.Clear();
            return null;
        }
        if (asked.ResponseNonce.Length == 0 || use.Watch.Names.Count == 0) // 3. also a reconnect that carries an old nonce
        {
            use.Watch.Clear();
            return AddAll(asked.ResourceNames);
        }
        if (asked.ResponseNonce != _lastNonce) // 4.
        {
            use.Meters.ExpiredNonces.Add();
            return null;
        }
        string[] before = [.. use.Watch.Names]; // 5.
        foreach (string name in before.Except(asked.ResourceNames)) { use.Watch.Remove(name); }
        return AddAll(asked.ResourceNames.Except(before));
    }

    private GrpcStatus? AddAll(IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            if (!use.Watch.TryAdd(name)) { return use.Unknown(name); }
        }
        return null;
    }
}
