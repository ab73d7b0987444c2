using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.Proto.Discovery;
using VmSidecar.Proto.Tls;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>The state machine of reference 02 section 6.4, over a real socket. Silence is shown by what comes next, not by waiting.</summary>
public sealed class SotwTests
{
    [Fact]
    public async Task Answers_both_resources_with_their_encoding_on_both_sockets()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        foreach (string socket in new[] { bench.Socket, bench.Folder.At("SDS") })
        {
            await using SdsClient envoy = await bench.ConnectAsync(socket);
            await envoy.AskAsync(["default", "ROOTCA"]);
            DiscoveryResponse response = await envoy.NextAsync();
            Secret[] secrets = SdsClient.Of(response);
            Assert.Equal(["default", "ROOTCA"], secrets.Select(s => s.Name));
            Assert.Equal(("chain1", "key1"), (SdsClient.Text(secrets[0].TlsCertificate.CertificateChain), SdsClient.Text(secrets[0].TlsCertificate.PrivateKey)));
            Assert.Equal("roots1", SdsClient.Text(secrets[1].ValidationContext.TrustedCa));
            Assert.Null(secrets[1].ValidationContext.Crl);
            Assert.Matches("^[0-9]{4}-[0-9-]+T[0-9:]+Z/[0-9]+$", response.VersionInfo);
            Assert.True(Guid.TryParse(response.Nonce, out _));
        }
        Assert.Contains("Information ads ADS: new connection for node:1", bench.Log.Lines);
        Assert.Contains("Information sds SDS: PUSH\tresources=2", bench.Log.Lines);
    }

    [Fact]
    public async Task A_push_goes_to_the_streams_that_watch_and_only_when_the_content_changed()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient a = await bench.ConnectAsync(), b = await bench.ConnectAsync();
        await a.AskAsync(["default"]);
        await b.AskAsync(["ROOTCA"]);
        string nonce = (await a.NextAsync()).Nonce;
        await b.NextAsync();
        await a.AskAsync(["default"], nonce); // ACK: silence
        await bench.TakenAsync(3);
        bench.Set(2);
        Assert.Equal("key2", SdsClient.Text(SdsClient.Of(await a.NextAsync())[0].TlsCertificate.PrivateKey)); // also without an ACK of b
        bench.Set(2, rootVersion: 2);
        Assert.Equal("roots2", SdsClient.Text(SdsClient.Of(await b.NextAsync())[0].ValidationContext.TrustedCa)); // the first thing b hears
        bench.Set(3, rootVersion: 2);
        Assert.Equal("key3", SdsClient.Text(SdsClient.Of(await a.NextAsync())[0].TlsCertificate.PrivateKey)); // a heard nothing of the root
        Assert.Contains("Information sds SDS: PUSH\tresource=default", bench.Log.Lines);
        Assert.Contains("Information sds SDS: PUSH\tresource=ROOTCA", bench.Log.Lines);
    }

    [Fact]
    public async Task A_stream_that_watches_two_gets_one_response_per_changed_resource()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default", "ROOTCA"]);
        await envoy.NextAsync();
        bench.Set(2, rootVersion: 2);
        string[] names = [.. SdsClient.Of(await envoy.NextAsync()).Select(s => s.Name), .. SdsClient.Of(await envoy.NextAsync()).Select(s => s.Name)];
        Assert.Equal(["ROOTCA", "default"], names.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Added_names_are_answered_alone_and_removed_ones_with_silence()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        string first = (await envoy.NextAsync()).Nonce;
        await envoy.AskAsync(["default", "ROOTCA"], first);
        DiscoveryResponse added = await envoy.NextAsync();
        Assert.Equal("ROOTCA", Assert.Single(SdsClient.Of(added)).Name);
        await envoy.AskAsync(["ROOTCA"], first); // stale nonce: ignored, default is still watched
        await envoy.AskAsync(["ROOTCA"], added.Nonce); // default is dropped
        await bench.TakenAsync(4);
        bench.Set(2, rootVersion: 2);
        Assert.Equal("ROOTCA", Assert.Single(SdsClient.Of(await envoy.NextAsync())).Name);
    }

    [Fact]
    public async Task No_nonce_replaces_the_watch_and_asks_again()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["ROOTCA"]);
        await envoy.NextAsync();
        await envoy.AskAsync(["ROOTCA"]);
        Assert.Equal("ROOTCA", SdsClient.Of(await envoy.NextAsync())[0].Name);
        await envoy.AskAsync(["default"]);
        Assert.Equal("default", Assert.Single(SdsClient.Of(await envoy.NextAsync())).Name);
        bench.Set(1, rootVersion: 2);
        bench.Set(2, rootVersion: 2);
        Assert.Equal("default", Assert.Single(SdsClient.Of(await envoy.NextAsync())).Name);
    }

    [Fact]
    public async Task A_reconnect_with_an_old_nonce_is_a_new_watch()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"], nonce: "of an earlier stream", version: "7");
        Assert.Equal("default", SdsClient.Of(await envoy.NextAsync())[0].Name);
    }

    [Fact]
    public async Task An_empty_list_ends_the_watch()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        string nonce = (await envoy.NextAsync()).Nonce;
        await envoy.AskAsync([], nonce);
        await envoy.AskAsync(["ROOTCA"], nonce); // no watch any more: a new one
        Assert.Equal("ROOTCA", SdsClient.Of(await envoy.NextAsync())[0].Name);
        bench.Set(2);
        bench.Set(2, rootVersion: 2);
        Assert.Equal("ROOTCA", Assert.Single(SdsClient.Of(await envoy.NextAsync())).Name);
    }

    [Fact]
    public async Task A_rejection_is_logged_and_answered_by_the_next_change_only()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"], nonce: "x", error: new Proto.Discovery.Status { Code = 3, Message = "before anything" }); // crashes the classic agent
        await envoy.AskAsync(["default"]);
        string nonce = (await envoy.NextAsync()).Nonce;
        await envoy.AskAsync(["default"], nonce, error: new Proto.Discovery.Status { Code = 13, Message = "bad key" });
        await bench.TakenAsync(3);
        bench.Set(2);
        Assert.Equal("key2", SdsClient.Text(SdsClient.Of(await envoy.NextAsync())[0].TlsCertificate.PrivateKey));
        Assert.Contains("Warning ads ADS:SDS: ACK ERROR 1 13:bad key", bench.Log.Lines);
    }

    [Theory]
    [InlineData("foo")]
    [InlineData("kubernetes://x")]
    [InlineData("file-cert:/only-one")]
    [InlineData("file-cert:/a~/b~/c")]
    [InlineData("file-root:/a~/b")]
    [InlineData("")]
    public async Task An_unknown_name_is_refused_and_never_gets_the_key(string name)
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        await envoy.NextAsync();
        await envoy.AskAsync([name]);
        GrpcStatus status = await envoy.EndAsync();
        Assert.Equal(GrpcStatusCode.NotFound, status.Code);
        Assert.Contains($"failed to generate secret for {name}", status.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_without_a_node_or_with_garbage_ends()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        await using SdsClient nameless = await bench.ConnectAsync(), garbage = await bench.ConnectAsync(), other = await bench.ConnectAsync(), fetch = await bench.ConnectAsync(method: "FetchSecrets");
        await nameless.AskAsync(["default"], node: "");
        Assert.Equal(new GrpcStatus(GrpcStatusCode.InvalidArgument, "missing node information"), await nameless.EndAsync());
        await garbage.SendAsync([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        Assert.Equal(GrpcStatusCode.InvalidArgument, (await garbage.EndAsync()).Code);
        await other.AskAsync(["default"], type: "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        Assert.Equal(GrpcStatusCode.InvalidArgument, (await other.EndAsync()).Code);
        Assert.Equal(GrpcStatusCode.Unimplemented, (await fetch.EndAsync()).Code);
    }

    [Fact]
    public async Task Asked_before_there_is_a_certificate_it_waits_and_then_answers()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        await using SdsClient second = await bench.ConnectAsync();
        await second.AskAsync(["ROOTCA"]);
        bench.Set(1);
        Assert.Equal("default", SdsClient.Of(await envoy.NextAsync())[0].Name);
        Assert.Equal("ROOTCA", SdsClient.Of(await second.NextAsync())[0].Name);
    }

    [Fact]
    public async Task The_wait_has_an_end_that_names_the_cause()
    {
        var time = new ManualTimeProvider();
        await using SdsBench bench = await SdsBench.StartedAsync(time: time);
        bench.Status.Set(new IdentityStatus(IdentityCondition.None, null, null, null, 1, "rpc error: code = Unauthenticated desc = request authenticate failure", ""));
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["default"]);
        Assert.Equal(TimeSpan.FromSeconds(30), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal(
            new GrpcStatus(GrpcStatusCode.Unknown, "failed to generate secret for default: failed to generate workload certificate: create certificate: rpc error: code = Unauthenticated desc = request authenticate failure"),
            await envoy.EndAsync());
    }

    [Fact]
    public async Task A_crl_is_named_in_every_set_of_anchors_once_it_exists()
    {
        string crl = Path.GetTempFileName();
        try
        {
            await using SdsBench bench = await SdsBench.StartedAsync(crl);
            bench.Set(1);
            await using SdsClient envoy = await bench.ConnectAsync();
            await envoy.AskAsync(["ROOTCA"]);
            Assert.Equal(crl, SdsClient.Of(await envoy.NextAsync())[0].ValidationContext.Crl.Filename);
        }
        finally { File.Delete(crl); }
    }

    [Fact]
    public async Task A_revocation_list_that_comes_changes_or_goes_is_a_push_of_the_anchors_and_of_nothing_else()
    {
        using var folder = new Identity.Folder();
        string crl = folder.At("ca-crl.pem");
        await using SdsBench bench = await SdsBench.StartedAsync(crl);
        bench.Set(1);
        await using SdsClient anchors = await bench.ConnectAsync(), certificate = await bench.ConnectAsync();
        await anchors.AskAsync(["ROOTCA"]);
        await certificate.AskAsync(["default"]);
        Assert.Null(SdsClient.Of(await anchors.NextAsync())[0].ValidationContext.Crl);
        await certificate.NextAsync();
        for (int version = 0; version < 3; version++)
        {
            File.WriteAllText(crl, $"list {version}");
            Assert.Equal(crl, SdsClient.Of(await anchors.NextAsync())[0].ValidationContext.Crl.Filename);
        }
        File.Delete(crl);
        Assert.Null(SdsClient.Of(await anchors.NextAsync())[0].ValidationContext.Crl);
        bench.Set(2);
        Assert.Equal("key2", SdsClient.Text(SdsClient.Of(await certificate.NextAsync())[0].TlsCertificate.PrivateKey)); // the next thing heard
    }
}
