using System.Security.Cryptography.X509Certificates;

using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class TrustAnchorsTests
{
    private const string Name = "istiod.istio-system.svc";
    private static readonly TimeSpan Tolerance = TimeSpan.FromMinutes(5);
    private readonly ManualTimeProvider _time = new();

    private DateTimeOffset Now => _time.GetUtcNow();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void A_certificate_of_the_roots_for_the_name_is_good(int depth)
    {
        var ca = new FakeCa(_time, new() { Intermediates = depth });
        Issued server = ca.IssueServer(Name, "10.0.0.1");
        var anchors = new TrustAnchors(ca.Roots, Tolerance);
        Assert.Null(anchors.Refuse(server.Certificate, server.Intermediates, Name, Now));
        Assert.Null(anchors.Refuse(server.Certificate, server.Intermediates, "10.0.0.1", Now));
        Assert.Contains("not for istiod.other.svc", anchors.Refuse(server.Certificate, server.Intermediates, "istiod.other.svc", Now), StringComparison.Ordinal);
        Assert.Contains("not for 10.0.0.2", anchors.Refuse(server.Certificate, server.Intermediates, "10.0.0.2", Now), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(2, 1)]
    public void An_anchor_need_not_be_self_signed(int depth, int anchor)
    {
        var ca = new FakeCa(_time, new() { Intermediates = depth });
        Issued server = ca.IssueServer(Name);
        var anchors = new TrustAnchors([ca.Intermediates[anchor]], Tolerance);
        Assert.Null(anchors.Refuse(server.Certificate, server.Intermediates, Name, Now));
        Assert.Null(anchors.Refuse(server.Certificate, [.. server.Intermediates, ca.Root], Name, Now)); // the server may send more than is needed
    }

    [Fact]
    public void Another_root_of_the_same_name_is_refused()
    {
        var ca = new FakeCa(_time);
        var other = new FakeCa(_time);
        Issued server = other.IssueServer(Name);
        var anchors = new TrustAnchors(ca.Roots, Tolerance);
        Assert.NotNull(anchors.Refuse(server.Certificate, server.Intermediates, Name, Now));
        Assert.NotNull(anchors.Refuse(server.Certificate, [other.Root], Name, Now));
    }

    [Fact]
    public void A_leaf_signed_by_an_untrusted_intermediate_with_a_trusted_name_is_refused()
    {
        var ca = new FakeCa(_time, new() { Intermediates = 1 });
        var other = new FakeCa(_time, new() { Intermediates = 1 });
        Issued server = other.IssueServer(Name);
        Assert.NotNull(new TrustAnchors([ca.Intermediates[0]], Tolerance).Refuse(server.Certificate, [.. ca.Intermediates, .. other.Intermediates], Name, Now));
    }

    [Fact]
    public void A_workload_certificate_does_not_pass_for_istiod()
    {
        var ca = new FakeCa(_time);
        Issued workload = ca.Issue(Some.Id, TimeSpan.FromHours(1));
        Assert.Contains("no DNS name", new TrustAnchors(ca.Roots, Tolerance).Refuse(workload.Certificate, [], Name, Now), StringComparison.Ordinal);
    }

    [Fact]
    public void Dates_are_judged_by_this_clock_and_named()
    {
        var ca = new FakeCa(_time, new() { BackDate = TimeSpan.FromSeconds(1) });
        Issued server = ca.IssueServer(TimeSpan.FromHours(1), Name);
        var anchors = new TrustAnchors(ca.Roots, Tolerance);
        Assert.Null(anchors.Refuse(server.Certificate, [], Name, Now - TimeSpan.FromMinutes(4)));
        string? early = anchors.Refuse(server.Certificate, [], Name, Now - TimeSpan.FromHours(1));
        Assert.Contains("is not valid before", early, StringComparison.Ordinal);
        Assert.Contains("behind by at least 3599 s", early, StringComparison.Ordinal);
        Assert.Contains("has expired at", anchors.Refuse(server.Certificate, [], Name, Now + TimeSpan.FromHours(2)), StringComparison.Ordinal);
    }

    [Fact]
    public void A_root_file_without_a_certificate_says_so()
    {
        using var folder = new Folder();
        Assert.Null(TrustAnchors.Load(folder.At("none.pem"), [], Tolerance, out string problem));
        Assert.Contains("cannot be read", problem, StringComparison.Ordinal);
        File.WriteAllText(folder.At("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        Assert.Null(TrustAnchors.Load(folder.At("bad.pem"), [], Tolerance, out problem));
        Assert.Contains("no certificate that can be parsed", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Bundles_merge_each_certificate_once_sorted_without_a_last_line_break()
    {
        string one = new FakeCa(_time).RootsPem, two = new FakeCa(_time).RootsPem;
        string merged = PemBundle.Merge(one + two, two.Replace("\n", "\r\n", StringComparison.Ordinal), "garbage");
        X509Certificate2Collection read = PemBundle.Read(merged, out int broken);
        Assert.Equal((2, 0), (read.Count, broken));
        Assert.Equal(merged, PemBundle.Merge(two, one));
        Assert.False(merged.EndsWith('\n'));
    }
}
