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
    public void What_is_listed_is_described_with_all_that_stands_in_it()
    {
        var reflection = new ServerReflection(() => DiscoveryReflection.Descriptor);
        List<string> services = Texts(ProtoField.Last(reflection.Answer(new ProtoWriter().Bytes(7, []).Written.Span), 6));
        Assert.Equal(3, services.Count);
        foreach (string service in services)
        {
            FileDescriptorProto file = File(reflection.Answer(new ProtoWriter().String(4, service).Written.Span));
            Assert.Equal(file, File(reflection.Answer(new ProtoWriter().String(3, file.Name).Written.Span)));
            FileDescriptor built = FileDescriptor.BuildFromByteStrings([.. file.Dependency.Select(name => File(Ask(name))).Append(file).Select(f => f.ToByteString())])[^1];
            Assert.Contains(built.Services, s => s.FullName == service);
            IEnumerable<string> symbols = built.Services.SelectMany(s => s.Methods.Select(m => m.FullName)).Concat(built.MessageTypes.SelectMany(Symbols));
            Assert.All(symbols, s => Assert.Equal(file, File(reflection.Answer(new ProtoWriter().String(4, s).Written.Span))));
        }
        Assert.Contains(DiscoveryReflection.Descriptor.MessageTypes, m => m.NestedTypes.Count > 0); // or nothing below would have been asked for
    }

    [Fact]
    public void The_host_asked_for_comes_back()
    {
        byte[] answer = new ServerReflection(() => DiscoveryReflection.Descriptor).Answer(new ProtoWriter().String(1, "xds").Bytes(7, []).Written.Span);
        Assert.Equal("xds", ProtoField.Text(answer, 1));
        Assert.True(ProtoField.Has(answer, 6));
    }

    [Theory, InlineData("v1"), InlineData("v1alpha")]
    public async Task A_large_request_is_not_taken(string version)
    {
        await using RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + bench.Options.Socket));
        string method = $"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo";
        await using IGrpcClientCall call = await channel.OpenAsync(method, [], CancellationToken.None);
        byte[] answer = await AskAsync(call, new ProtoWriter().String(4, new string('x', 4000)));
        Assert.Equal(new string('x', 256) + "… is not known here", ProtoField.Text(ProtoField.Last(answer, 7), 2));
        await call.SendAsync(new ProtoWriter().String(4, new string('x', 4096)).Written, CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.Null(await call.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        Assert.Equal((GrpcStatusCode.ResourceExhausted, "received message larger than max (4099 vs. 4096)"), (call.Status.Code, call.Status.Message));
    }

    [Fact]
    public async Task Few_may_ask_at_a_time()
    {
        await using RelayBench bench = await new RelayBench(delta: true, names: false).StartAsync();
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + bench.Options.Socket));
        var calls = new List<IGrpcClientCall>();
        for (int i = 0; i < 32; i++)
        {
            calls.Add(await channel.OpenAsync("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", [], CancellationToken.None));
            await AskAsync(calls[i], new ProtoWriter().Bytes(7, []));
        }
        await using (IGrpcClientCall more = await channel.OpenAsync("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", [], CancellationToken.None))
        {
            Assert.Null(await more.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
            Assert.Equal(GrpcStatusCode.ResourceExhausted, more.Status.Code);
        }
        await calls[0].CompleteAsync(CancellationToken.None);
        Assert.Null(await calls[0].ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline)); // the end follows the count
        await using (IGrpcClientCall next = await channel.OpenAsync("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", [], CancellationToken.None)) { await AskAsync(next, new ProtoWriter().Bytes(7, [])); }
        foreach (IGrpcClientCall call in calls) { await call.DisposeAsync(); }
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

    private static IEnumerable<string> Symbols(MessageDescriptor message) =>
        message.Fields.InDeclarationOrder().Select(f => f.FullName).Concat(message.Oneofs.Select(o => o.FullName)).Append(message.FullName).Concat(message.NestedTypes.SelectMany(Symbols))
            .Concat(message.EnumTypes.Select(e => e.FullName));

    private static List<string> Texts(ReadOnlySpan<byte> list)
    {
        List<string> names = [];
        var reader = new ProtoReader(list);
        while (reader.Next()) { names.Add(ProtoField.Text(reader.Bytes, 1)); }
        return names;
    }
}
