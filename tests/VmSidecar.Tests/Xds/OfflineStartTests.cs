using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>A boot without istiod: what Envoy accepted last is served, marked stale, until istiod answers (DESIGN: offline start).</summary>
public sealed class OfflineStartTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-xdso-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false, false), InlineData(true, true), InlineData(true, false), InlineData(false, true)]
    public async Task What_Envoy_accepted_is_served_until_istiod_answers(bool recordedDelta, bool servedDelta)
    {
        await RecordAsync(recordedDelta);
        Assert.All(Directory.GetFiles(Path.Combine(_folder, "xds")), f => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(f)));

        await using var bench = new RelayBench(servedDelta, folder: _folder) { KeepFolder = true };
        bench.Istiod.Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: no route to host");
        await bench.StartAsync();
        PairedCall early = bench.Envoy(servedDelta);
        Assert.Equal(GrpcStatusCode.Unavailable, (await early.Ended.WaitAsync(Test.Deadline)).Code); // istiod gets its few seconds
        bench.Time.Advance(TimeSpan.FromSeconds(3));
        PairedCall envoy = bench.Envoy(servedDelta);

        XdsEnvelope clusters = await AskAsync(envoy, servedDelta, XdsTypeUrl.Cluster, Talk.Node);
        Assert.Equal(2, clusters.Resources); // the refused third one is not among them
        Assert.StartsWith("offline/", clusters.Version, StringComparison.Ordinal);
        await envoy.Client.SayAsync(XdsMessages.Answer(servedDelta, clusters, error: null)); // an ACK is met with silence
        XdsEnvelope endpoints = await AskAsync(envoy, servedDelta, XdsTypeUrl.Endpoints, default, "c1", "unknown");
        Assert.Equal(2, endpoints.Resources); // an unknown one is empty, or its cluster would never warm
        Assert.Equal(1, (await AskAsync(envoy, servedDelta, XdsTypeUrl.Listener, default)).Resources);
        Assert.NotNull(bench.Proxy.Status.ServingFrom);
        Assert.Single(bench.Log.Lines, l => l.StartsWith("Warning xdsproxy istiod cannot be reached: Envoy is served", StringComparison.Ordinal));

        bench.Istiod.Refuse = null;
        PairedCall own = await ComesBackAsync(bench);
        await own.Server.ReadBytesAsync();
        await own.Server.SayAsync(Talk.Response(servedDelta, XdsTypeUrl.NameTable, "n1", [7]));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unavailable, "istiod takes over"), await envoy.Ended.WaitAsync(Test.Deadline));
        Assert.Null(bench.Proxy.Status.ServingFrom);
        PairedCall live = bench.Envoy(servedDelta), joint = await bench.Istiod.NextAsync();
        await live.Client.SayAsync(XdsMessages.Subscribe(servedDelta, XdsTypeUrl.Cluster, Talk.Node));
        Assert.True((await joint.Server.ReadAsync(Talk.Requests(servedDelta))).HasNode);
    }

    [Fact]
    public async Task What_was_deleted_while_Envoy_restarted_is_not_served()
    {
        await using (var bench = new RelayBench(delta: true, names: false, folder: _folder) { KeepFolder = true })
        {
            await bench.StartAsync();
            foreach (string[] clusters in (string[][])[["c1", "gone"], ["c1", "c3"]]) // each a new Envoy, that holds nothing
            {
                PairedCall envoy = bench.Envoy(delta: true);
                await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
                PairedCall istiod = await bench.Istiod.NextAsync();
                await istiod.Server.ReadBytesAsync();
                await PushAsync(envoy, istiod, true, XdsTypeUrl.Cluster, null, clusters);
                await envoy.Client.DisposeAsync();
            }
        }
        using var reader = new ResourceKeeper(_folder, TimeProvider.System, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        Assert.Equal(["c1", "c3"], reader.Peek()[XdsTypeUrl.Cluster].ByName.Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task What_is_too_old_is_not_served()
    {
        await RecordAsync(delta: true);
        await using RelayBench bench = await CutOffAsync(delta: true, after: TimeSpan.FromHours(25));
        Assert.Equal(GrpcStatusCode.Unavailable, (await bench.Envoy(delta: true).Ended.WaitAsync(Test.Deadline)).Code);
        Assert.Contains(bench.Log.Lines, l => l.Contains("more than the 24 h allowed", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Damage_is_said_and_nothing_is_served()
    {
        await RecordAsync(delta: true);
        await File.AppendAllTextAsync(Path.Combine(_folder, "xds", "CDS.journal"), "this is no record");
        await using RelayBench bench = await CutOffAsync(delta: true);
        await bench.Envoy(delta: true).Ended.WaitAsync(Test.Deadline);
        Assert.Contains(bench.Log.Lines, l => l.Contains("CDS.journal is damaged", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(false, true), InlineData(true, true)]   // torn in its first record: nothing of the type is kept
    [InlineData(false, false), InlineData(true, false)] // never kept
    public async Task Routes_that_were_not_kept_are_answered_empty_as_their_listener_would_warm_for_ever(bool delta, bool torn)
    {
        await RecordAsync(delta);
        string journal = Path.Combine(_folder, "xds", "RDS.journal");
        Assert.False(File.Exists(journal));
        if (torn)
        {
            byte[] whole = ResponseOf(delta, XdsTypeUrl.Routes, "n", ["80"]);
            byte[] record = [.. JournalRecord.Of(Talk.Responses(delta), whole.Length, [whole]).SelectMany(p => p.ToArray())];
            await File.WriteAllBytesAsync(journal, record[..^5]);
        }
        await using RelayBench bench = await CutOffAsync(delta);
        PairedCall envoy = bench.Envoy(delta);
        Assert.Equal(1, (await AskAsync(envoy, delta, XdsTypeUrl.Listener, Talk.Node)).Resources);
        await envoy.Client.SayAsync([.. XdsMessages.Subscribe(delta, XdsTypeUrl.Routes), .. new ProtoWriter().String(3, "80").String(3, "8080").Written.Span]);
        Assert.Equal(torn, bench.Log.Lines.Any(l => l.Contains("RDS.journal", StringComparison.Ordinal)));
        var kept = new KeptResources();
        byte[] answer = await envoy.Client.ReadBytesAsync();
        Assert.True(XdsEnvelope.TryRead(Talk.Responses(delta), answer, out XdsEnvelope? response) && kept.TryTake(response, answer));
        Assert.Equal(XdsTypeUrl.Routes, response.TypeUrl);
        Assert.Equal(["80", "8080"], kept.ByName.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(new ProtoWriter().String(1, XdsTypeUrl.Routes).Message(2, new ProtoWriter().String(1, "80")).ToArray(), kept.ByName["80"]);
    }

    [Theory]
    [InlineData(false, true), InlineData(true, true)]   // torn in its first record: nothing of the type is kept
    [InlineData(false, false), InlineData(true, false)] // one of two is kept
    public async Task Extensions_that_were_not_kept_are_given_as_something_Envoy_refuses_as_their_listener_would_hold_up_all(bool delta, bool torn)
    {
        await RecordAsync(delta);
        byte[] whole = ResponseOf(delta, XdsTypeUrl.Extension, "n", ["kept"]);
        byte[] record = [.. JournalRecord.Of(Talk.Responses(delta), whole.Length, [whole]).SelectMany(p => p.ToArray())];
        await File.WriteAllBytesAsync(Path.Combine(_folder, "xds", "ECDS.journal"), torn ? record[..^5] : record);
        await using RelayBench bench = await CutOffAsync(delta);
        PairedCall envoy = bench.Envoy(delta);
        Assert.Equal(1, (await AskAsync(envoy, delta, XdsTypeUrl.Listener, Talk.Node)).Resources);
        await AskForExtensionsAsync("gone", "kept");
        if (!torn)
        {
            (XdsEnvelope good, KeptResources first) = await ReadAsync(); // apart, and before: a refusal is of all there is in a response
            Assert.Equal(["kept"], first.ByName.Keys);
            await envoy.Client.SayAsync(XdsMessages.Answer(delta, good, null));
        }
        XdsEnvelope refused = await UnusableAsync("gone");
        if (torn) { refused = await UnusableAsync("kept"); }
        await envoy.Client.SayAsync([.. XdsMessages.Answer(delta, refused, "filter config has type URL google.protobuf.Empty"), .. new ProtoWriter().String(3, "gone").String(3, "later").Written.Span]);
        await UnusableAsync("later"); // the refusal asked for more; what was refused is not given again
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster));
        Assert.Equal(XdsTypeUrl.Cluster, (await ReadAsync()).Response.TypeUrl);
        Assert.Equal(torn ? 3 : 2, bench.Log.Lines.Count(l => l.Contains("was not kept: Envoy is given one that it refuses", StringComparison.Ordinal)));

        async Task AskForExtensionsAsync(params string[] names)
        {
            ProtoWriter asked = new();
            foreach (string name in names) { asked.String(3, name); }
            await envoy.Client.SayAsync([.. XdsMessages.Subscribe(delta, XdsTypeUrl.Extension), .. asked.Written.Span]);
        }

        async Task<(XdsEnvelope Response, KeptResources Content)> ReadAsync()
        {
            var content = new KeptResources();
            byte[] answer = await envoy.Client.ReadBytesAsync();
            Assert.True(XdsEnvelope.TryRead(Talk.Responses(delta), answer, out XdsEnvelope? response) && content.TryTake(response, answer));
            return (response, content);
        }

        async Task<XdsEnvelope> UnusableAsync(string name)
        {
            (XdsEnvelope response, KeptResources content) = await ReadAsync();
            Assert.Equal(XdsTypeUrl.Extension, response.TypeUrl);
            ProtoWriter config = new ProtoWriter().String(1, name).Message(2, new ProtoWriter().String(1, "type.googleapis.com/google.protobuf.Empty"));
            Assert.Equal(new ProtoWriter().String(1, XdsTypeUrl.Extension).Message(2, config).ToArray(), Assert.Single(content.ByName).Value);
            return response;
        }
    }

    [Fact]
    public async Task A_silent_istiod_is_given_up_and_a_live_one_is_never_overruled()
    {
        await RecordAsync(delta: true);
        await using var bench = new RelayBench(delta: true, names: false, folder: _folder) { KeepFolder = true };
        await bench.StartAsync();
        PairedCall own = await bench.Istiod.NextAsync(), envoy = bench.Envoy(delta: true);
        await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        while (await bench.DelayAsync() != TimeSpan.FromSeconds(3)) { }
        bench.Time.Advance(TimeSpan.FromSeconds(3));
        Assert.Equal("istiod does not answer", (await envoy.Ended.WaitAsync(Test.Deadline)).Message);
        PairedCall offline = bench.Envoy(delta: true);
        Assert.Equal(2, (await AskAsync(offline, true, XdsTypeUrl.Cluster, Talk.Node)).Resources);
        await own.Server.SayAsync(Talk.Response(true, XdsTypeUrl.NameTable, "n1", [7]));
        await offline.Ended.WaitAsync(Test.Deadline);

        PairedCall live = bench.Envoy(delta: true);
        await bench.Istiod.NextAsync();
        bench.Time.Advance(TimeSpan.FromMinutes(1)); // silent again, but this is no boot any more
        Assert.False(live.Ended.IsCompleted);
    }

    /// <summary>An agent on what was recorded, so long after, that has looked for istiod in vain for long enough.</summary>
    private async Task<RelayBench> CutOffAsync(bool delta, TimeSpan after = default)
    {
        var bench = new RelayBench(delta, folder: _folder) { KeepFolder = true };
        bench.Istiod.Refuse = new GrpcStatus(GrpcStatusCode.Unavailable, "connect: no route to host");
        bench.Time.Jump(after);
        await bench.StartAsync();
        bench.Time.Jump(TimeSpan.FromSeconds(4));
        return bench;
    }

    /// <summary>A good day: Envoy accepts two clusters (and refuses a push of three), one listener, endpoints.</summary>
    private async Task RecordAsync(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false, folder: _folder) { KeepFolder = true };
        await bench.StartAsync();
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        foreach (string type in (string[])[XdsTypeUrl.Cluster, XdsTypeUrl.Endpoints, XdsTypeUrl.Listener])
        {
            await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, type, Talk.Node));
            await istiod.Server.ReadBytesAsync();
        }
        await PushAsync(envoy, istiod, delta, XdsTypeUrl.Cluster, null, "c1", "c2");
        await PushAsync(envoy, istiod, delta, XdsTypeUrl.Cluster, "no", "c1", "c2", "c3");
        await PushAsync(envoy, istiod, delta, XdsTypeUrl.Endpoints, null, "c1");
        await PushAsync(envoy, istiod, delta, XdsTypeUrl.Listener, null, "l1");
    }

    private static async Task PushAsync(PairedCall envoy, PairedCall istiod, bool delta, string type, string? error, params string[] names)
    {
        byte[] push = ResponseOf(delta, type, "n" + type + names.Length, names);
        await istiod.Server.SayAsync(push);
        XdsEnvelope response = await envoy.Client.ReadAsync(Talk.Responses(delta));
        await envoy.Client.SayAsync(XdsMessages.Answer(delta, response, error));
        await istiod.Server.ReadBytesAsync();
    }

    private static byte[] ResponseOf(bool delta, string type, string nonce, string[] names)
    {
        var message = new ProtoWriter();
        foreach (string name in names)
        {
            ProtoWriter any = new ProtoWriter().String(1, type).Message(2, new ProtoWriter().String(1, name));
            message.Message(2, delta ? new ProtoWriter().Message(2, any).String(3, name) : any);
        }
        return message.String(4, type).String(5, nonce).ToArray();
    }

    private static async Task<XdsEnvelope> AskAsync(PairedCall envoy, bool delta, string type, ReadOnlyMemory<byte> node, params string[] names)
    {
        ProtoWriter more = new();
        foreach (string name in names) { more.String(3, name); }
        await envoy.Client.SayAsync([.. XdsMessages.Subscribe(delta, type, node.Span), .. more.Written.Span]);
        return await envoy.Client.ReadAsync(Talk.Responses(delta));
    }

    private static async Task<PairedCall> ComesBackAsync(RelayBench bench)
    {
        Task<PairedCall> next = bench.Istiod.NextAsync();
        while (!next.IsCompleted)
        {
            bench.Time.Advance(TimeSpan.FromSeconds(30));
            await Task.WhenAny(next, Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System));
        }
        return await next;
    }
}
