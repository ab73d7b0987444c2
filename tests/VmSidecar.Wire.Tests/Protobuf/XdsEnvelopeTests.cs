using System.Text;

using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Wire.Tests.Protobuf;

/// <summary>The envelope of the four discovery messages: worked vectors, recorded messages, truncation, random bytes.</summary>
public sealed class XdsEnvelopeTests
{
    private const string HealthSotw = "222e747970652e676f6f676c65617069732e636f6d2f697374696f2e76312e4865616c7468496e666f726d6174696f6e";
    private const string NdsSotw = "2235747970652e676f6f676c65617069732e636f6d2f697374696f2e6e6574776f726b696e672e6e64732e76312e4e616d655461626c65";

    [Fact]
    public void The_worked_vectors_read_as_the_reference_says()
    {
        XdsEnvelope healthy = Read(XdsMessageKind.Request, HealthSotw);
        Assert.Equal((XdsTypeUrl.Health, false), (healthy.TypeUrl, healthy.HasError));
        XdsEnvelope unhealthy = Read(XdsMessageKind.Request, HealthSotw + "3208080d1204626f6f6d");
        Assert.Equal((true, 13, "boom"), (unhealthy.HasError, unhealthy.ErrorCode, unhealthy.ErrorMessage));
        XdsEnvelope delta = Read(XdsMessageKind.DeltaRequest, "12" + HealthSotw[2..] + "3a08080d1204626f6f6d");
        Assert.Equal((XdsTypeUrl.Health, 13, "boom"), (delta.TypeUrl, delta.ErrorCode, delta.ErrorMessage));
        XdsEnvelope ack = Read(XdsMessageKind.Request, "0a16323032312d30352d32375431303a30303a30305a2f37" + NdsSotw + "2a026e31");
        Assert.Equal((XdsTypeUrl.NameTable, "2021-05-27T10:00:00Z/7", "n1"), (ack.TypeUrl, ack.Version, ack.Nonce));
        XdsEnvelope deltaAck = Read(XdsMessageKind.DeltaRequest, "12" + NdsSotw[2..] + "32026e31");
        Assert.Equal((XdsTypeUrl.NameTable, "n1"), (deltaAck.TypeUrl, deltaAck.Nonce));
    }

    [Theory]
    [InlineData("sotw", 0, XdsTypeUrl.Cluster, true, 0)]
    [InlineData("sotw", 1, XdsTypeUrl.Listener, false, 0)]
    [InlineData("sotw", 2, XdsTypeUrl.Cluster, false, 13)]
    [InlineData("delta", 0, XdsTypeUrl.Cluster, true, 0)]
    [InlineData("delta", 3, XdsTypeUrl.Listener, false, 13)]
    public void Recorded_requests_of_a_real_Envoy_are_understood(string form, int index, string typeUrl, bool node, int error)
    {
        byte[] bytes = File.ReadAllBytes(Directory.GetFiles(Fixture($"envoy-1.40/{form}")).Order(StringComparer.Ordinal).ElementAt(index));
        Assert.True(XdsEnvelope.TryRead(form == "delta" ? XdsMessageKind.DeltaRequest : XdsMessageKind.Request, bytes, out XdsEnvelope? request));
        Assert.Equal((typeUrl, node, error), (request.TypeUrl, request.HasNode, request.ErrorCode));
        Assert.Equal(node, bytes.AsSpan(request.Node).IndexOf("envoy.filters.http.router"u8) > 0);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void What_is_written_is_read(int which)
    {
        var kind = (XdsMessageKind)which;
        for (int seed = 0; seed < 2_000; seed++)
        {
            var random = new Random(seed);
            (byte[] bytes, string type, string nonce, int resources) = Sample(kind, random);
            Assert.True(XdsEnvelope.TryRead(kind, bytes, out XdsEnvelope? envelope), $"seed {seed}");
            Assert.Equal((type, nonce, resources), (envelope.TypeUrl, envelope.Nonce, envelope.Resources));
            if (resources > 0) { Assert.Equal("payload0"u8.ToArray(), bytes.AsSpan(envelope.FirstResource).ToArray()); }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_cut_or_flipped_message_is_refused_or_read_but_never_throws(int which)
    {
        var kind = (XdsMessageKind)which;
        var random = new Random(7);
        (byte[] bytes, _, _, _) = Sample(kind, random);
        for (int length = 0; length < bytes.Length; length++)
        {
            if (XdsEnvelope.TryRead(kind, bytes.AsSpan(0, length), out XdsEnvelope? envelope)) { _ = bytes.AsSpan(envelope.FirstResource).Length; }
        }
        for (int i = 0; i < 20_000; i++)
        {
            byte[] copy = [.. bytes];
            copy[random.Next(copy.Length)] ^= (byte)(1 << random.Next(8));
            if (XdsEnvelope.TryRead(kind, copy, out XdsEnvelope? envelope)) { _ = copy.AsSpan(envelope.FirstResource).Length; }
        }
    }

    [Fact]
    public void A_text_that_is_no_UTF8_is_refused() =>
        Assert.False(XdsEnvelope.TryRead(XdsMessageKind.Request, new ProtoWriter().Bytes(5, [0xFF, 0xFE]).Written.Span, out _));

    [Fact]
    public void Reading_does_not_cost_more_for_larger_resources()
    {
        byte[] bytes = new ProtoWriter().Message(2, new ProtoWriter().String(1, XdsTypeUrl.Cluster).Bytes(2, new byte[10_000_000])).String(4, XdsTypeUrl.Cluster).ToArray();
        XdsEnvelope.TryRead(XdsMessageKind.Response, bytes, out _);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.Response, bytes, out XdsEnvelope? envelope));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 400); // the record itself
        Assert.Same(XdsTypeUrl.Cluster, envelope.TypeUrl);
    }

    private static (byte[] Bytes, string Type, string Nonce, int Resources) Sample(XdsMessageKind kind, Random random)
    {
        string type = random.Next(2) == 0 ? XdsTypeUrl.Cluster : "type.googleapis.com/some.Thing" + random.Next(100);
        string nonce = Guid.NewGuid().ToString();
        int resources = kind is XdsMessageKind.Response or XdsMessageKind.DeltaResponse ? random.Next(4) : 0;
        bool deltaRequest = kind == XdsMessageKind.DeltaRequest;
        List<byte[]> fields = [];
        for (int i = 0; i < resources; i++)
        {
            ProtoWriter any = new ProtoWriter().String(1, type).Bytes(2, Encoding.ASCII.GetBytes($"payload{i}"));
            fields.Add(new ProtoWriter().Message(2, kind == XdsMessageKind.DeltaResponse ? new ProtoWriter().String(3, "name").Message(2, any) : any).ToArray());
        }
        fields.Add(new ProtoWriter().String(deltaRequest ? 2 : 4, type).ToArray());
        fields.Insert(random.Next(fields.Count), new ProtoWriter().String(deltaRequest ? 6 : 5, nonce).ToArray());
        fields.Insert(random.Next(fields.Count), new ProtoWriter().Bytes(500 + random.Next(100), new byte[random.Next(20)]).ToArray()); // of the future
        byte[] bytes = [.. fields.SelectMany(f => f)];
        return (bytes, type, nonce, resources);
    }

    private static XdsEnvelope Read(XdsMessageKind kind, string hex)
    {
        Assert.True(XdsEnvelope.TryRead(kind, Convert.FromHexString(hex), out XdsEnvelope? envelope));
        return envelope;
    }

    private static string Fixture(string folder) => Path.Combine(AppContext.BaseDirectory, "Fixtures", folder);
}
