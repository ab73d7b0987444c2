using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The types the agent consumes itself: name tables (NDS) and trust anchors (PCDS). Shared by the agent's own stream and the joint one; the gate keeps their last and first message apart at a hand-over.</summary>
internal sealed class XdsTap(XdsLinks links, XdsMetrics metrics, TimeProvider time, ILogger log)
{
    private const int CaCertificatesPem = 34; // istio.mesh.v1alpha1.ProxyConfig.ca_certificates_pem

    private readonly Lock _gate = new();

    /// <summary>Types to ask for, in order.</summary>
    public IReadOnlyList<string> Subscriptions { get; } =
        [.. links.Names is null ? Array.Empty<string>() : [XdsTypeUrl.NameTable], .. links.Trust is null ? Array.Empty<string>() : [XdsTypeUrl.ProxyConfig]];

    /// <summary>When the last name table was taken.</summary>
    public DateTimeOffset? LastNames { get; private set; }

    /// <summary>True when responses of this type are for the agent and never for Envoy.</summary>
    public bool Takes(string typeUrl) => Subscriptions.Contains(typeUrl);

    /// <summary>
    /// Takes one response and makes the answer for the stream it came on. Null: no answer. A response without resources is
    /// neither acknowledged nor applied, as the classic agent does: the old table stays.
    /// </summary>
    public byte[]? Consume(XdsEnvelope response, ReadOnlySpan<byte> message)
    {
        if (response.Resources == 0) { return null; }
        ReadOnlySpan<byte> resource = message[response.FirstResource];
        string? error;
        lock (_gate)
        {
            error = response.TypeUrl == XdsTypeUrl.NameTable ? TakeNames(resource) : TakeTrust(resource);
        }
        return XdsMessages.Answer(response.Kind == XdsMessageKind.DeltaResponse, response, error);
    }

    private string? TakeNames(ReadOnlySpan<byte> table)
    {
        string? error = links.Names!.Accept(table);
        if (error is not null)
        {
            XdsLog.BadNameTable(log, error);
            return error;
        }
        LastNames = time.GetUtcNow();
        metrics.LastNames.Value = LastNames.Value.ToUnixTimeSeconds();
        return null;
    }

    private string? TakeTrust(ReadOnlySpan<byte> proxyConfig)
    {
        List<string> pems = [];
        var reader = new ProtoReader(proxyConfig);
        while (reader.Next())
        {
            if (reader.Is(CaCertificatesPem)) { pems.Add(Encoding.UTF8.GetString(reader.Bytes)); }
        }
        string? error = reader.IsMalformed ? "the resource is not a ProxyConfig" : links.Trust!.Accept(pems);
        if (error is not null) { XdsLog.BadProxyConfig(log, error); }
        return error;
    }
}
