using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>What goes in comes out: the same bytes, in order, once, in both directions.</summary>
public sealed class ByteIdentityTests
{
    private const int Messages = 10_000;
    private const int WholeAbove = 256 * 1024;

    [Theory, InlineData(false, WholeAbove), InlineData(true, WholeAbove), InlineData(false, 0), InlineData(true, 0)]
    public async Task Random_messages_pass_unchanged_in_order_and_once(bool delta, int largeMessage)
    {
        await using var bench = new RelayBench(delta, names: false, largeMessage: largeMessage); // 0: every response passes while it arrives
        PairedCall envoy = bench.Envoy(delta, window: 16), istiod = await bench.Istiod.NextAsync();
        Task up = FloodAsync(envoy.Client, i => Request(delta, i)), down = FloodAsync(istiod.Server, i => Response(delta, i));
        Task atIstiod = CompareAsync(istiod.Server, i => Request(delta, i)), atEnvoy = CompareAsync(envoy.Client, i => Response(delta, i));
        await Task.WhenAll(up, down, atIstiod, atEnvoy).WaitAsync(Test.Deadline);
    }

    [Theory, InlineData("sotw"), InlineData("delta")]
    public async Task Recorded_requests_of_a_real_Envoy_reach_istiod_as_they_are(string form)
    {
        bool delta = form == "delta";
        await using var bench = new RelayBench(delta, names: true);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Fixtures/envoy-1.40", form)).Order(StringComparer.Ordinal))
        {
            byte[] request = await File.ReadAllBytesAsync(file);
            Assert.True(XdsEnvelope.TryRead(Talk.Requests(delta), request, out XdsEnvelope? envelope));
            if (envelope.HasError)
            {
                await istiod.Server.SayAsync(Talk.Response(delta, envelope.TypeUrl, envelope.Nonce, [1])); // what it refuses
                await envoy.Client.ReadBytesAsync();
            }
            await envoy.Client.SayAsync(request);
            byte[] seen = await istiod.Server.ReadBytesAsync();
            Assert.Equal(request, seen);
            if (file.EndsWith("00-Cluster.binpb", StringComparison.Ordinal)) { await istiod.Server.ReadBytesAsync(); } // the agent's NDS request
        }
        await bench.Log.UntilAsync(l => l.Contains("Envoy rejected LDS: ", StringComparison.Ordinal) && l.Contains("'istio.metadata_exchange'", StringComparison.Ordinal));
    }

    [Theory, InlineData("istiod-1.10-sotw"), InlineData("istiod-1.31-sotw"), InlineData("istiod-1.31-delta")]
    public async Task Recorded_responses_of_real_istiods_reach_Istios_Envoy_as_they_are_and_names_stay_here(string recorded)
    {
        bool delta = recorded.EndsWith("delta", StringComparison.Ordinal);
        await using var bench = new RelayBench(delta);
        PairedCall envoy = bench.Envoy(delta), istiod = await bench.Istiod.NextAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        await istiod.Server.ReadBytesAsync();
        await istiod.Server.ReadBytesAsync();
        foreach ((XdsEnvelope response, byte[] bytes) in ResourceMenderTests.Recorded(recorded))
        {
            await istiod.Server.SayAsync(bytes);
            if (response.TypeUrl != XdsTypeUrl.NameTable)
            {
                Assert.Equal(bytes, await envoy.Client.ReadBytesAsync());
                continue;
            }
            XdsEnvelope ack = await istiod.Server.ReadAsync(Talk.Requests(delta));
            Assert.Equal((response.Nonce, delta ? "" : response.Version, false), (ack.Nonce, ack.Version, ack.HasError));
            Assert.True(bench.Names.Tables.Count == 1 && bench.Names.Tables[0].AsSpan().IndexOf("nginx.example.com"u8) > 0);
        }
    }

    private static async Task FloodAsync(IGrpcStream to, Func<int, byte[]> make)
    {
        for (int i = 0; i < Messages; i++) { await to.SendAsync(make(i), CancellationToken.None); }
    }

    private static async Task CompareAsync(IGrpcStream from, Func<int, byte[]> make)
    {
        for (int i = 0; i < Messages; i++)
        {
            using GrpcMessage? message = await from.ReadAsync(CancellationToken.None);
            Assert.True(message is not null && message.Body.Span.SequenceEqual(make(i)), $"message {i}");
        }
    }

    private static byte[] Request(bool delta, int seed)
    {
        var random = new Random(seed);
        ProtoWriter request = new ProtoWriter().String(delta ? 2 : 4, Type(random)).String(delta ? 6 : 5, "n" + seed);
        for (int i = random.Next(3); i > 0; i--) { request.String(3, "name" + random.Next()); }
        return request.Bytes(random.Next(100, 5000), Junk(random)).ToArray();
    }

    private static byte[] Response(bool delta, int seed)
    {
        var random = new Random(~seed);
        string type = Type(random);
        byte[][] resources = [.. Enumerable.Range(0, random.Next(4)).Select(_ => Junk(random))];
        return [.. Talk.Response(delta, type, "n" + seed, resources), .. new ProtoWriter().Bytes(random.Next(100, 5000), Junk(random)).ToArray()];
    }

    private static string Type(Random random) => random.Next(4) switch
    {
        0 => XdsTypeUrl.Cluster,
        1 => XdsTypeUrl.Endpoints,
        2 => XdsTypeUrl.Extension,
        _ => "type.googleapis.com/envoy.of.the.Future" + random.Next(9),
    };

    private static byte[] Junk(Random random)
    {
        byte[] junk = new byte[random.Next(300)];
        random.NextBytes(junk);
        return junk;
    }
}
