using System.Text.Json.Nodes;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.Configuration;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

public sealed class NodeMessageNumberTests
{
    [Fact]
    public void A_number_is_encoded_whatever_type_holds_it()
    {
        var metadata = new JsonObject { ["int"] = 15021, ["double"] = 1.5, ["parsed"] = JsonNode.Parse("189") };
        byte[] encoded = NodeMessage.WithoutRegistration(new NodeOptions("id", "c", "", "", "", metadata, []));
        Struct fields = Node.Parser.ParseFrom(encoded).Metadata;
        Assert.Equal([15021, 1.5, 189], ((string[])["int", "double", "parsed"]).Select(k => fields.Fields[k].NumberValue));
    }
}
