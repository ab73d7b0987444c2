using VmSidecar.EnvoyApi.Core;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Pki;
using VmSidecar.Tests.Identity;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>
/// What istiods answer to credentials on ADS (reference 08 section 1.9), through the relay: Envoy gets istiod's own words, the log says why,
/// which istiod never does, and says it once.
/// </summary>
public sealed class CredentialRowsTests
{
    public static TheoryData<string, string> Refused() => new()
    {
        { "expired", "has expired at" },
        { "early", "is not valid before" },
        { "audience", "is for audience api, not istio-ca" },
        { "issuer", "issuer https://elsewhere" },
        { "signature", "so istiod does not accept its signature" },
        { "garbage", "does not hold a JWT" },
        { "user", "which is no service account" },
        { "none", "there is no token in" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public Task A_refused_token_is_explained_on_1_31(string kind, string why) => RefusedAsync(IstiodVersion.V1_31, kind, why);

    [Theory]
    [MemberData(nameof(Refused))]
    public Task A_refused_token_is_explained_on_1_10(string kind, string why) => RefusedAsync(IstiodVersion.V1_10, kind, why);

    [Theory]
    [InlineData(IstiodVersion.V1_10, "garbage")]
    [InlineData(IstiodVersion.V1_10, "none")]
    [InlineData(IstiodVersion.V1_31, "garbage")]
    [InlineData(IstiodVersion.V1_31, "none")]
    internal async Task Its_own_certificate_opens_the_stream_with_a_bad_token_or_none(IstiodVersion version, string kind)
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = version }, token: i => Token(i, kind), certificate: i => i.CertificateAuthority.Issue(Some.Id, TimeSpan.FromHours(1)));
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: false);
        await envoy.AskAsync("CDS", node: WireBench.Node());
        Assert.NotNull(await envoy.NextAsync());
        Assert.All(bench.Istiod.Streams, s => Assert.Equal(CredentialKind.Certificate, s.Identity!.By));
        Assert.Empty(bench.Istiod.Violations);
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    internal async Task A_node_of_another_namespace_is_denied_and_both_sides_are_named(IstiodVersion version)
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = version });
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: false);
        await envoy.AskAsync("CDS", node: IstiodPeer.Node(ns: "other"));
        GrpcStatus end = await envoy.EndAsync();
        Assert.Equal(new GrpcStatus(GrpcStatusCode.PermissionDenied, "authorization failed: no identities ([spiffe://cluster.local/ns/vm-ns/sa/vm-sa]) matched other/vm-sa"), end);
        await bench.Log.UntilAsync(l => l.Contains("refuses this VM", StringComparison.Ordinal));
        Assert.Single(bench.Log.Lines, l => l.Contains(end.Message + ": the identity shown is not the one the node claims", StringComparison.Ordinal) && l.Contains("Make POD_NAMESPACE and SERVICE_ACCOUNT", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10, "vm1", GrpcStatusCode.Unknown, "missing parts in the service node \"vm1\"")]
    [InlineData(IstiodVersion.V1_31, "vm1", GrpcStatusCode.InvalidArgument, "missing parts in the service node \"vm1\"")]
    [InlineData(IstiodVersion.V1_10, "", GrpcStatusCode.InvalidArgument, "missing node ID")]
    [InlineData(IstiodVersion.V1_31, null, GrpcStatusCode.InvalidArgument, "missing node information")]
    internal async Task A_node_istiod_cannot_read_ends_the_stream_with_its_words(IstiodVersion version, string? id, GrpcStatusCode code, string message)
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = version });
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: false);
        Node? node = id is null ? null : WireBench.Node();
        if (node is not null) { node.Id = id; }
        await envoy.AskAsync("CDS", node: node);
        Assert.Equal(new GrpcStatus(code, message), await envoy.EndAsync());
    }

    private static async Task RefusedAsync(IstiodVersion version, string kind, string why)
    {
        await using WireBench bench = await WireBench.StartedAsync(new IstiodOptions { Version = version }, token: i => Token(i, kind));
        await using AdsPeer envoy = await bench.EnvoyAsync(delta: false);
        await envoy.AskAsync("CDS", node: WireBench.Node());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"), await envoy.EndAsync());
        await bench.Log.UntilAsync(l => l.Contains("refuses this VM", StringComparison.Ordinal)); // the own stream may be the one that says it
        string line = Assert.Single(bench.Log.Lines, l => l.Contains("refuses this VM", StringComparison.Ordinal));
        Assert.Contains(why, line, StringComparison.Ordinal);
        Assert.DoesNotContain(bench.Log.Lines, l => l.Contains("unexpected error", StringComparison.Ordinal)); // said once, with its reason
    }

    private static string? Token(FakeIstiod istiod, string kind)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        switch (kind)
        {
            case "expired": return istiod.Tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(-2));
            case "early": return istiod.Tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(1));
            case "audience": return istiod.Tokens.Make(Some.Namespace, Some.Account, audience: "api");
            case "issuer": return istiod.Tokens.Make(Some.Namespace, Some.Account, issuer: "https://elsewhere");
            case "user": return istiod.Tokens.Make(Some.Namespace, Some.Account, subject: "alice");
            case "garbage": return "garbage";
            case "signature":
                using (var foreign = new TokenMaker(TimeProvider.System)) { return foreign.Make(Some.Namespace, Some.Account); }
            default: return null;
        }
    }
}
