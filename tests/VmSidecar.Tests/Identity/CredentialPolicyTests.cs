using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class CredentialPolicyTests
{
    private readonly ManualTimeProvider _time = new();

    [Theory]
    [InlineData("valid", TokenQuality.Good, null)]
    [InlineData("valid", TokenQuality.None, null)]
    [InlineData("expired", TokenQuality.Good, "cert expired, using token instead")]
    [InlineData("expired", TokenQuality.None, null)] // nothing to lose
    [InlineData("refused", TokenQuality.Good, "istiod refused the client certificate, using token instead")]
    [InlineData("refused", TokenQuality.None, null)]
    [InlineData("expired", TokenQuality.Expired, null)] // this clock may be wrong about both
    [InlineData("refused", TokenQuality.Expired, "istiod refused the client certificate, using token instead")]
    [InlineData("other", TokenQuality.Good, "the client certificate is for spiffe://cluster.local/ns/vm-ns/sa/old")]
    [InlineData("other", TokenQuality.None, "the client certificate is for spiffe://cluster.local/ns/vm-ns/sa/old")]
    [InlineData("two", TokenQuality.Good, "the client certificate has no single SPIFFE name")]
    [InlineData("missing", TokenQuality.Good, "cannot parse the cert chain, using token instead: failed to read the cert, error is open ")]
    [InlineData("mismatched", TokenQuality.Good, "cannot parse the cert chain, using token instead: key and certificate do not belong together")]
    internal void A_doubtful_certificate_stays_at_home_while_there_is_a_token(string state, TokenQuality token, string? expected)
    {
        using var folder = new Folder();
        var ca = new FakeCa(_time);
        if (state != "missing")
        {
            string id = state switch { "other" => "spiffe://cluster.local/ns/vm-ns/sa/old", "two" => $"{Some.Id} {Some.Id}2", _ => Some.Id };
            Issued issued = ca.Issue(id, TimeSpan.FromHours(1), state == "expired" ? _time.GetUtcNow().AddHours(-2) : null);
            issued.WriteTo(folder.Path);
            if (state == "mismatched") { File.WriteAllText(folder.At("key.pem"), ca.Issue(Some.Id, TimeSpan.FromHours(1)).KeyPem); }
        }
        using CertificatePair? pair = CertificatePair.Load(folder.At("cert-chain.pem"), folder.At("key.pem"), out PairProblem problem, out string reason);
        string? withheld = CredentialPolicy.Withhold(
            new PairOnDisk(pair, problem, reason), Some.Id, state.StartsWith("refused", StringComparison.Ordinal) ? pair!.Thumbprint : null, token, _time.GetUtcNow());
        if (expected is null) { Assert.Null(withheld); }
        else { Assert.StartsWith(expected, withheld, StringComparison.Ordinal); }
    }
}
