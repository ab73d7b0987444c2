using VmSidecar.Configuration;
using VmSidecar.Proto.Tls;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>proxyConfig.privateKeyProvider reaches Envoy with the key inside, and the key nowhere else.</summary>
public sealed class KeyProviderTests
{
    [Theory]
    [InlineData("cryptomb", "envoy.extensions.private_key_providers.cryptomb.v3alpha.CryptoMbPrivateKeyMethodConfig")]
    [InlineData("qat", "envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig")]
    public async Task The_key_goes_through_the_provider(string name, string type)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh(
            $"defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  privateKeyProvider:\n    {name}:\n      pollDelay: 1.5s\n      fallback: true\n");
        KeyProviderOptions read = host.Options().Sds.KeyProvider!;
        await using SdsBench bench = await SdsBench.StartedAsync(change: options => options with { KeyProvider = read });
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        TlsCertificate sent = SdsClient.Of(await envoy.NextAsync())[0].TlsCertificate;
        Assert.Null(sent.PrivateKey);
        Assert.Equal((name, true, "type.googleapis.com/" + type), (sent.PrivateKeyProvider.ProviderName, sent.PrivateKeyProvider.Fallback, sent.PrivateKeyProvider.TypedConfig.TypeUrl));
        PrivateKeyMethodConfig config = PrivateKeyMethodConfig.Parser.ParseFrom(sent.PrivateKeyProvider.TypedConfig.Value);
        Assert.Equal(("key1", TimeSpan.FromSeconds(1.5)), (SdsClient.Text(config.PrivateKey), config.PollDelay.ToTimeSpan())); // seconds count too
    }

    [Theory]
    [InlineData("cryptomb: {}", "has no pollDelay above zero")]
    [InlineData("other: {pollDelay: 1ms}", "names no single provider that Envoy knows")]
    public void A_provider_that_Envoy_cannot_use_is_a_mistake(string field, string problem)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh(
            $"defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  privateKeyProvider:\n    {field}\n");
        Assert.EndsWith(problem, Assert.Single(host.Load().Mistakes).Problem, StringComparison.Ordinal);
    }
}
