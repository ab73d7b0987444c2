using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Wire.Tests.Protobuf;

/// <summary>The type of a response from its first bytes, or the honest answer that they do not show it.</summary>
public sealed class XdsTypePeekTests
{
    private const string Future = "type.googleapis.com/envoy.of.the.Future";

    [Theory, InlineData(false, XdsTypeUrl.Cluster), InlineData(true, XdsTypeUrl.Cluster), InlineData(true, Future)]
    public void The_first_resource_names_it(bool delta, string type)
    {
        XdsMessageKind kind = delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response;
        ProtoWriter any = new ProtoWriter().String(1, type).Bytes(2, new byte[5000]);
        ProtoWriter resource = kind == XdsMessageKind.Response ? any : new ProtoWriter().String(1, "v").Message(2, any).String(3, "name");
        byte[] message = new ProtoWriter().String(1, "v7").Message(2, resource).Message(2, resource).String(4, type).ToArray();
        Assert.Equal(type, XdsTypePeek.Find(kind, message.AsSpan(0, 200)));
        for (int length = 0; length < message.Length; length += length < 200 ? 1 : 97)
        {
            string? found = XdsTypePeek.Find(kind, message.AsSpan(0, length));
            Assert.True(found == type || (found is null && length < 100), $"{length}: {found}");
        }
    }

    [Fact]
    public void Without_resources_the_envelope_names_it() =>
        Assert.Equal(XdsTypeUrl.Listener, XdsTypePeek.Find(XdsMessageKind.DeltaResponse, new ProtoWriter().String(1, "v").String(4, XdsTypeUrl.Listener).ToArray()));

    [Fact]
    public void Junk_shows_nothing_and_harms_nobody()
    {
        for (int seed = 0; seed < 20_000; seed++)
        {
            byte[] junk = new byte[seed % 100];
            new Random(seed).NextBytes(junk);
            _ = XdsTypePeek.Find(XdsMessageKind.Response, junk);
            _ = XdsTypePeek.Find(XdsMessageKind.DeltaResponse, junk);
        }
        Assert.Null(XdsTypePeek.Find(XdsMessageKind.Response, []));
        Assert.Null(XdsTypePeek.Find(XdsMessageKind.Response, new ProtoWriter().Message(2, new ProtoWriter().Bytes(2, [1, 2, 3]).String(1, XdsTypeUrl.Cluster)).ToArray().AsSpan(0, 4)));
    }
}
