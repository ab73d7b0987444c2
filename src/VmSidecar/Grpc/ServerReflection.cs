using System.Text;

using Google.Protobuf.Reflection;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Grpc;

/// <summary>
/// gRPC server reflection (grpc.reflection.v1 and v1alpha, the same messages): which services a socket has and what their messages look like, as tools such as grpcurl ask.
/// The descriptors are of our own minimal messages: fields that the agent only passes on are missing from them.
/// </summary>
/// <param name="file">The file with the services; made when somebody asks, as a start must not wait for what hardly anybody does.</param>
internal sealed class ServerReflection(Func<FileDescriptor> file)
{
    private static readonly string[] s_own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

    // ServerReflectionRequest
    private const int FileByName = 3, FileOfSymbol = 4, ListServices = 7;

    // ServerReflectionResponse
    private const int OriginalRequest = 2, Files = 4, Services = 6, Error = 7;

    /// <summary>The handlers, by path, to be added to a server's.</summary>
    public IEnumerable<KeyValuePair<string, GrpcHandler>> Methods => s_own.Select(name => KeyValuePair.Create<string, GrpcHandler>($"/{name}/ServerReflectionInfo", ServeAsync));

    /// <summary>The answer to one request.</summary>
    public byte[] Answer(ReadOnlySpan<byte> request)
    {
        ProtoWriter answer = new ProtoWriter().Bytes(OriginalRequest, request);
        var reader = new ProtoReader(request);
        while (reader.Next())
        {
            string asked = Encoding.UTF8.GetString(reader.Bytes);
            if (reader.Is(ListServices)) { return answer.Message(Services, Names()).ToArray(); }
            if (!reader.Is(FileByName) && !reader.Is(FileOfSymbol)) { continue; }
            FileDescriptor? found = reader.Number == FileByName ? Known.FirstOrDefault(f => f.Name == asked) : Known.FirstOrDefault(f => Has(f, asked));
            if (found is not null) { return answer.Message(Files, new ProtoWriter().Bytes(1, found.SerializedData.Span)).ToArray(); }
            return answer.Message(Error, Problem(GrpcStatusCode.NotFound, $"{asked} is not known here")).ToArray();
        }
        return answer.Message(Error, Problem(reader.IsMalformed ? GrpcStatusCode.InvalidArgument : GrpcStatusCode.Unimplemented, "only services, files by name and files by symbol are told")).ToArray();
    }

    private async Task<GrpcStatus> ServeAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        while (await call.ReadAsync(aborted) is { } request)
        {
            using (request) { await call.SendAsync(Answer(request.Body.Span), aborted); }
        }
        return GrpcStatus.Ok;
    }

    private IEnumerable<FileDescriptor> Known => file().Dependencies.Prepend(file());

    private ProtoWriter Names()
    {
        var list = new ProtoWriter();
        foreach (string name in file().Services.Select(s => s.FullName).Concat(s_own)) { list.Message(1, new ProtoWriter().String(1, name)); }
        return list;
    }

    // A service, a method of one, or a message.
    private static bool Has(FileDescriptor file, string symbol) =>
        file.Services.Any(s => s.FullName == symbol || s.Methods.Any(m => m.FullName == symbol)) || file.MessageTypes.Any(m => m.FullName == symbol);

    private static ProtoWriter Problem(GrpcStatusCode code, string message) => new ProtoWriter().Varint(1, (ulong)code).String(2, message);
}
