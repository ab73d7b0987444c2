using System.Net.Sockets;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>Each scripted fault is seen by a peer as what it plays.</summary>
public sealed class FaultTests
{
    [Fact]
    public async Task A_refusing_istiod_has_no_port_and_comes_back_on_the_same_one()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        istiod.Front.Refuse();
        GrpcException refused = await Assert.ThrowsAsync<GrpcException>(() => peer.AdsAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, refused.Status.Code);
        string target = istiod.Target;
        await istiod.KillAsync();
        await istiod.StartAsync();
        Assert.Equal(target, istiod.Target);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        Assert.NotNull(await ads.NextAsync());
    }

    [Fact]
    public async Task A_silent_istiod_takes_the_connection_and_says_nothing()
    {
        await using FakeIstiod istiod = await StartAsync();
        istiod.Front.Silent = true;
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(istiod.Address);
        Assert.Equal(0, istiod.Front.Open);
    }

    [Fact]
    public async Task A_killed_istiod_resets_its_streams_and_writes_nothing_down()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod, ScenarioMesh.Namespace, "vm");
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("CDS", node: IstiodPeer.Node(ScenarioMesh.Namespace, "vm", group: "nginx"));
        await ads.NextAsync();
        await istiod.KillAsync();
        Assert.Equal(GrpcStatusCode.Unavailable, (await ads.EndAsync()).Code);
        Assert.True(istiod.Registry.Entries.Single().IsConnected);
    }

    [Fact]
    public async Task A_stopping_istiod_ends_streams_and_marks_entries()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod, ScenarioMesh.Namespace, "vm");
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("CDS", node: IstiodPeer.Node(ScenarioMesh.Namespace, "vm", group: "nginx"));
        await ads.NextAsync();
        Task stopping = istiod.StopAsync();
        Assert.Equal(GrpcStatusCode.Unavailable, (await ads.EndAsync()).Code);
        await stopping;
        Assert.False(istiod.Registry.Entries.Single().IsConnected);
    }

    [Fact]
    public async Task Half_a_message_is_never_a_message()
    {
        await using FakeIstiod istiod = await StartAsync();
        istiod.Source = RecordedSource.Load("istiod-1.31-sotw");
        istiod.Faults.OnAnswer("LDS", new AdsFault.HalfMessage(2000)); // of nineteen thousand bytes
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("LDS", node: IstiodPeer.Node());
        Assert.Null(await ads.NextAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, ads.Status.Code);
    }

    [Fact]
    public async Task A_reset_a_status_and_an_unready_istiod_are_seen_as_such()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        istiod.Faults.OnAnswer("NDS", new AdsFault.Reset());
        istiod.Faults.OnOpen(new AdsFault.End(GrpcStatusCode.ResourceExhausted, "request rate limit exceeded"));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.ResourceExhausted, "request rate limit exceeded"), await AskOnceAsync(peer));
        Assert.Equal(GrpcStatusCode.Unavailable, (await AskOnceAsync(peer)).Code);
        istiod.IsReady = false;
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unavailable, "server is not ready to serve discovery information"), await AskOnceAsync(peer));
    }

    [Fact]
    public async Task A_hung_answer_holds_only_its_stream()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        istiod.Faults.OnAnswer("NDS", new AdsFault.Hang());
        await using AdsPeer hung = await peer.AdsAsync();
        await hung.AskAsync("NDS", node: IstiodPeer.Node());
        await istiod.UntilAsync(i => i.Streams.Length == 1, "first stream");
        await using AdsPeer other = await peer.AdsAsync();
        await other.AskAsync("CDS", node: IstiodPeer.Node());
        Assert.NotNull(await other.NextAsync());
        istiod.Ads.End(new GrpcStatus(GrpcStatusCode.Unavailable, "over"));
        Assert.Equal("over", (await hung.EndAsync()).Message);
    }

    [Fact]
    public async Task A_scripted_CA_fails_hangs_and_cheats()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        using var key = System.Security.Cryptography.ECDsa.Create(System.Security.Cryptography.ECCurve.NamedCurves.nistP256);
        string csr = new System.Security.Cryptography.X509Certificates.CertificateRequest("O=x", key, System.Security.Cryptography.HashAlgorithmName.SHA256).CreateSigningRequestPem() + "\n";
        istiod.Ca.Scripts.Enqueue(new CaScript.Fail(GrpcStatusCode.Unavailable, "later"));
        Assert.Equal("later", (await Assert.ThrowsAsync<GrpcException>(() => peer.SignAsync(csr))).Status.Message);
        istiod.Ca.Scripts.Enqueue(new CaScript.Truncate(1));
        Assert.Single(await peer.SignAsync(csr));
        istiod.Ca.Scripts.Enqueue(new CaScript.WrongIdentity("spiffe://cluster.local/ns/a/sa/b"));
        using var wrong = System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPem((await peer.SignAsync(csr))[0]);
        Assert.Equal(["spiffe://cluster.local/ns/a/sa/b"], VmSidecar.TestKit.Pki.SpiffeIdOf.Uris(wrong));
        Assert.Equal(3, istiod.Ca.Calls.Count);
    }

    [Fact]
    public async Task An_aged_connection_says_goodbye_and_ends_after_the_grace()
    {
        var time = new ManualTimeProvider(TimeProvider.System.GetUtcNow());
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Time = time });
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        Assert.NotNull(await ads.NextAsync());
        Task aged = istiod.AgeOutAsync();
        istiod.Push("NDS");
        Assert.NotNull(await ads.NextAsync()); // the stream still lives
        time.Advance(TimeSpan.FromSeconds(10));
        await aged;
        Assert.Equal(GrpcStatusCode.Unavailable, (await ads.EndAsync()).Code);
    }

    [Fact]
    public async Task A_stalled_link_stays_open_and_carries_nothing()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        DiscoveryResponse first = (await ads.NextAsync())!;
        istiod.Front.StallAll();
        await ads.AskAsync("NDS", answers: first);
        istiod.Push();
        Task<DiscoveryResponse?> next = ads.NextAsync();
        Assert.Equal(1, istiod.Front.Open);
        Assert.False(next.IsCompleted);
        istiod.Front.ResetAll();
        Assert.Null(await next);
    }

    private static async Task<GrpcStatus> AskOnceAsync(IstiodPeer peer)
    {
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        return await ads.EndAsync();
    }

    private static async Task<FakeIstiod> StartAsync()
    {
        FakeIstiod istiod = await FakeIstiod.StartedAsync();
        istiod.Mesh = ScenarioMesh.With("10.99.0.3");
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        return istiod;
    }
}
