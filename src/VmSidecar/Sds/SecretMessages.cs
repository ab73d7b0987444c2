using System.Globalization;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.Configuration;
using VmSidecar.Proto.Tls;

namespace VmSidecar.Sds;

/// <summary>Pure encoding of secrets, as Envoy's v3 API has them. Everything is inline bytes, as the classic agent sends it.</summary>
internal static class SecretMessages
{
    public const string TypeUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

    private static long _counter;

    /// <summary>One secret under the name it was asked for by.</summary>
    /// <param name="name">As asked for.</param>
    /// <param name="value">The content.</param>
    /// <param name="crlFile">Named beside trust anchors; null: none.</param>
    /// <param name="provider">What Envoy is to use the key through; null: nothing.</param>
    public static Any Encode(string name, SecretValue value, string? crlFile, KeyProviderOptions? provider)
    {
        var secret = new Secret { Name = name };
        if (value.RootsPem is { } roots)
        {
            secret.ValidationContext = new CertificateValidationContext { TrustedCa = Inline(roots) };
            if (crlFile is not null) { secret.ValidationContext.Crl = new DataSource { Filename = crlFile }; }
        }
        else
        {
            secret.TlsCertificate = new TlsCertificate { CertificateChain = Inline(value.ChainPem!) };
            if (provider is null) { secret.TlsCertificate.PrivateKey = Inline(value.KeyPem!); }
            else { secret.TlsCertificate.PrivateKeyProvider = Through(provider, value.KeyPem!); }
        }
        return new Any { TypeUrl = TypeUrl, Value = secret.ToByteString() };
    }

    /// <summary><c>2026-08-22T20:00:18Z/7</c>: time and a counter of the process, as the newer agent does.</summary>
    public static string NextVersion(DateTimeOffset now) =>
        string.Create(CultureInfo.InvariantCulture, $"{now.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss'Z'}/{Interlocked.Increment(ref _counter)}");

    /// <summary>A fresh nonce: UUID v4 text.</summary>
    public static string NextNonce() => Guid.NewGuid().ToString();

    /// <summary>The key within the provider's configuration; it then stands nowhere else in the secret.</summary>
    private static PrivateKeyProvider Through(KeyProviderOptions provider, string keyPem)
    {
        var config = new PrivateKeyMethodConfig { PrivateKey = Inline(keyPem), PollDelay = Duration.FromTimeSpan(provider.PollDelay) };
        return new PrivateKeyProvider { ProviderName = provider.Name, Fallback = provider.Fallback, TypedConfig = new Any { TypeUrl = provider.TypeUrl, Value = config.ToByteString() } };
    }

    private static DataSource Inline(string pem) => new() { InlineBytes = ByteString.CopyFromUtf8(pem) };
}
