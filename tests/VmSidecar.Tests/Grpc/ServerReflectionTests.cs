using Google.Protobuf;
using Google.Protobuf.Reflection;

using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;
using VmSidecar.TestKit;
using VmSidecar.Tests.Xds;
using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Tools can ask the xDS socket what it serves, as they can pilot-agent's.</summary>
public sealed class ServerReflectionTests
{
    private const string Service = "envoy.service.discovery.v3.AggregatedDiscoveryService";

    [Theory, InlineData("v1"), InlineData("v1alpha")]
    public async Task The_socket_tells_its_services_and_their_messages(string version)
    {
        await using RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + bench.Options.Socket));
        await using IGrpcClientCall call = await channel.OpenAsync($"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", [], CancellationToken.None);
        byte[] list = await AskAsync(call, new ProtoWriter().Bytes(7, [])); // set, and empty
        Assert.Equal([Service, "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"], Texts(ProtoField.Last(list, 6)));

        FileDescriptorProto ads = File(await AskAsync(call, new ProtoWriter().String(4, Service)));
        Assert.Equal(["StreamAggregatedResources", "DeltaAggregatedResources"], Assert.Single(ads.Service).Method.Select(m => m.Name));
        Assert.All(ads.Service[0].Method, m => Assert.True(m.ClientStreaming && m.ServerStreaming));
        Assert.Equal(ads, File(await AskAsync(call, new ProtoWriter().String(4, Service + ".DeltaAggregatedResources"))));
        Assert.Equal(ads, File(await AskAsync(call, new ProtoWriter().String(4, "envoy.service.discovery.v3.DeltaDiscoveryRequest"))));
        IEnumerable<FileDescriptor> built = FileDescriptor.BuildFromByteStrings([.. ads.Dependency.Select(name => File(Ask(name))).Append(ads).Select(f => f.ToByteString())]); // complete: a tool can make sense of it
        Assert.Contains(built.Last().Services, s => s.FullName == Service);

        byte[] unknown = await AskAsync(call, new ProtoWriter().String(4, "no.such.Thing"));
        Assert.Equal((5UL, "no.such.Thing is not known here"), (ProtoField.Number(ProtoField.Last(unknown, 7), 1), ProtoField.Text(ProtoField.Last(unknown, 7), 2)));
        await call.CompleteAsync(CancellationToken.None);
        Assert.Null(await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        Assert.Equal(GrpcStatus.Ok, call.Status);
    }

    [Fact]
    public void Anything_is_answered()
    {
        var reflection = new ServerReflection(() => DiscoveryReflection.Descriptor);
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            byte[] request = new byte[random.Next(40)];
            random.NextBytes(request);
            byte[] answer = reflection.Answer(request);
            Assert.Equal(request, ProtoField.Last(answer, 2).ToArray());
            Assert.True(ProtoField.Has(answer, 4) || ProtoField.Has(answer, 6) || ProtoField.Has(answer, 7));
        }
    }

    private static byte[] Ask(string file) => new ServerReflection(() => DiscoveryReflection.Descriptor).Answer(new ProtoWriter().String(3, file).Written.Span);

    private static async Task<byte[]> AskAsync(IGrpcClientCall call, ProtoWriter request)
    {
        await call.SendAsync(request.Written, CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        return await call.ReadBytesAsync();
    }

    private static FileDescriptorProto File(byte[] answer) => FileDescriptorProto.Parser.ParseFrom(ProtoField.Last(ProtoField.Last(answer, 4), 1));

    private static List<string> Texts(ReadOnlySpan<byte> list)
    {
        List<string> names = [];
        var reader = new ProtoReader(list);
        while (reader.Next()) { names.Add(ProtoField.Text(reader.Bytes, 1)); }
        return names;
    }
}
