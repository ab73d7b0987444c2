using System.Text;

using Google.Protobuf;
using Google.Protobuf.Reflection;

using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Grpc;

/// <summary>
/// gRPC server reflection (grpc.reflection.v1 and v1alpha, the same messages): which services a socket has and what their messages look like, as tools such as grpcurl ask.
/// The descriptors are of our own minimal messages: fields that the agent only passes on are missing from them. Everybody on the machine may ask, so what an asker can hold is bounded.
/// </summary>
/// <param name="file">The file with the services; made when somebody asks, as a start must not wait for what hardly anybody does.</param>
internal sealed class ServerReflection(Func<FileDescriptor> file)
{
    private const int LargestRequest = 4096; // bytes; a name and a host
    private const int MostCalls = 32;        // tools open one
    private const int LongestName = 256;     // characters of it that are said to be unknown

    // ServerReflectionRequest
    private const int Host = 1, FileByName = 3, FileOfSymbol = 4, ListServices = 7;

    // ServerReflectionResponse
    private const int ValidHost = 1, OriginalRequest = 2, Files = 4, Services = 6, Error = 7;

    private readonly Lazy<ReflectionIndex> _index = new(() => new ReflectionIndex([file().ToProto(), .. ReflectionIndex.DependenciesOf(file()), .. ReflectionProto.Versions.Select(ReflectionProto.File)]));
    private int _calls;

    /// <summary>Limits of what is received, bytes, by path: to be added to a server's.</summary>
    public static IReadOnlyDictionary<string, int> MaxReceive { get; } = Paths.ToDictionary(path => path, _ => LargestRequest, StringComparer.Ordinal);

    /// <summary>The handlers, by path, to be added to a server's.</summary>
    public IEnumerable<KeyValuePair<string, GrpcHandler>> Methods => Paths.Select(path => KeyValuePair.Create<string, GrpcHandler>(path, ServeAsync));

    private static IEnumerable<string> Paths => ReflectionProto.Versions.Select(version => $"/{ReflectionProto.Package(version)}.{ReflectionProto.Service}/{ReflectionProto.Method}");

    /// <summary>The answer to one request.</summary>
    public byte[] Answer(ReadOnlySpan<byte> request)
    {
        var answer = new ProtoWriter();
        ReadOnlySpan<byte> host = ProtoField.Last(request, Host);
        if (!host.IsEmpty) { answer.Bytes(ValidHost, host); }
        answer.Bytes(OriginalRequest, request);
        var reader = new ProtoReader(request);
        while (reader.Next())
        {
            if (reader.Is(ListServices)) { return answer.Message(Services, Names()).ToArray(); }
            if (!reader.Is(FileByName) && !reader.Is(FileOfSymbol)) { continue; }
            string asked = Encoding.UTF8.GetString(reader.Bytes);
            FileDescriptorProto? found = reader.Number == FileByName ? _index.Value.ByName(asked) : _index.Value.OfSymbol(asked);
            if (found is not null) { return answer.Message(Files, new ProtoWriter().Bytes(1, found.ToByteArray())).ToArray(); }
            return answer.Message(Error, Problem(GrpcStatusCode.NotFound, $"{(asked.Length > LongestName ? asked[..LongestName] + "…" : asked)} is not known here")).ToArray();
        }
        return answer.Message(Error, Problem(reader.IsMalformed ? GrpcStatusCode.InvalidArgument : GrpcStatusCode.Unimplemented, "only services, files by name and files by symbol are told")).ToArray();
    }

    private async Task<GrpcStatus> ServeAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        try
        {
            if (Interlocked.Increment(ref _calls) > MostCalls) { return new GrpcStatus(GrpcStatusCode.ResourceExhausted, $"{MostCalls} calls are open already"); }
            while (await call.ReadAsync(aborted) is { } request)
            {
                using (request) { await call.SendAsync(Answer(request.Body.Span), aborted); }
            }
            return GrpcStatus.Ok;
        }
        finally { Interlocked.Decrement(ref _calls); }
    }

    private ProtoWriter Names()
    {
        var list = new ProtoWriter();
        foreach (string name in _index.Value.Services) { list.Message(1, new ProtoWriter().String(1, name)); }
        return list;
    }

    private static ProtoWriter Problem(GrpcStatusCode code, string message) => new ProtoWriter().Varint(1, (ulong)code).String(2, message);
}
