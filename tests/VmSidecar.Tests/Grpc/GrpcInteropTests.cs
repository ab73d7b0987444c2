using System.Diagnostics;
using System.Text;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Both sides against gRPC's C core (python3-grpcio): what two halves of ours could agree on wrongly.</summary>
public sealed class GrpcInteropTests
{
    private const string Python = "/usr/bin/python3";

    [Fact]
    public async Task A_foreign_client_is_served_by_our_server()
    {
        SkipWithoutGrpcio();
        string path = Path.Combine(Path.GetTempPath(), $"vsc-grpc-{Guid.NewGuid():N}", "S");
        using var server = new GrpcServer(GrpcServerOptions.OnSocket("test", path), Methods(), NullLogger.Instance);
        await server.StartAsync(default);
        try
        {
            using Process client = Start("client.py", $"unix:{path}");
            string output = await client.StandardOutput.ReadToEndAsync().WaitAsync(Test.Deadline);
            Assert.Equal(Expected(), output.TrimEnd().Split('\n'));
        }
        finally
        {
            await server.StopAsync(default).WaitAsync(Test.Deadline);
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    [Fact]
    public async Task Our_client_is_served_by_a_foreign_server()
    {
        SkipWithoutGrpcio();
        string path = Path.Combine(Path.GetTempPath(), $"vsc-grpc-{Guid.NewGuid():N}");
        using Process server = Start("server.py", path);
        try
        {
            Assert.Equal("READY", await server.StandardOutput.ReadLineAsync().WaitAsync(Test.Deadline));
            await using var channel = new GrpcChannel(GrpcChannelOptions.For($"unix:{path}"));
            await CheckAsync(channel);
            await using IGrpcClientCall call = await channel.OpenAsync("/interop.T/Echo", [], default);
            await call.SendAsync("x"u8.ToArray(), default);
            Assert.Equal("x", await call.ReadTextAsync());
            server.StandardInput.Close(); // graceful stop with no grace: the call is cut
            Assert.Null(await call.ReadTextAsync());
            Assert.True(call.Status.Code is GrpcStatusCode.Unavailable or GrpcStatusCode.Cancelled, call.Status.ToString());
            await server.WaitForExitAsync().WaitAsync(Test.Deadline);
        }
        finally
        {
            if (!server.HasExited) { server.Kill(); }
            File.Delete(path);
        }
    }

    [Fact]
    public async Task A_foreign_server_that_is_killed_ends_the_call_with_unavailable()
    {
        SkipWithoutGrpcio();
        string path = Path.Combine(Path.GetTempPath(), $"vsc-grpc-{Guid.NewGuid():N}");
        using Process server = Start("server.py", path);
        Assert.Equal("READY", await server.StandardOutput.ReadLineAsync().WaitAsync(Test.Deadline));
        await using var channel = new GrpcChannel(GrpcChannelOptions.For($"unix:{path}"));
        await using IGrpcClientCall call = await channel.OpenAsync("/interop.T/Echo", [], default);
        await call.SendAsync("x"u8.ToArray(), default);
        Assert.Equal("x", await call.ReadTextAsync());
        server.Kill();
        Assert.Null(await call.ReadTextAsync());
        Assert.Equal(GrpcStatusCode.Unavailable, call.Status.Code);
        File.Delete(path);
    }

    private static async Task CheckAsync(GrpcChannel channel)
    {
        Assert.Equal("abc", await OneAsync("Echo", "abc"));
        byte[] big = new byte[50_000_000];
        using (GrpcMessage back = await channel.UnaryAsync("/interop.T/Echo", big, [], Test.Deadline, default)) { Assert.Equal(big.Length, back.Body.Length); }
        Assert.Equal(new GrpcStatus(GrpcStatusCode.PermissionDenied, "no: café 100 %\n"), await EndAsync("Late"));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Aborted, "after one"), await EndAsync("After"));
        Assert.Equal(GrpcStatusCode.Unknown, (await EndAsync("Broken")).Code);
        Assert.Equal(GrpcStatusCode.Unimplemented, (await EndAsync("Nothing")).Code);
        Assert.InRange(int.Parse(await OneAsync("Deadline", ""), System.Globalization.CultureInfo.InvariantCulture), 1, 60);
        // A server told to compress does so whatever we accept: refused with the reason, not taken for a message.
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Internal, "received a message compressed with gzip; only identity is accepted"), await EndAsync("Squeezed"));
        Assert.Equal($"[('clusterid', 'Kubernetes'), ('user-agent', '{GrpcMetadata.UserAgent}')]", await OneAsync("Metadata", ""));

        async Task<string> OneAsync(string name, string text)
        {
            using GrpcMessage back = await channel.UnaryAsync($"/interop.T/{name}", Encoding.UTF8.GetBytes(text), [new("clusterid", "Kubernetes")], Test.Deadline, default);
            return Encoding.UTF8.GetString(back.Body.Span);
        }

        async Task<GrpcStatus> EndAsync(string name) =>
            (await Assert.ThrowsAsync<GrpcException>(() => channel.UnaryAsync($"/interop.T/{name}", new byte[1000], [], Test.Deadline, default))).Status;
    }

    private static IEnumerable<string> Expected()
    {
        string[] codes = ["CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"];
        return
        [
            "echo OK [b'one', b'', b'three']", "unary OK b'x'", "big OK 50000000",
            .. codes.Select((name, i) => $"code{i + 1} {name} 'café 100 %\\n'"),
            "unknown UNIMPLEMENTED 'unknown method /interop.T/Nothing'",
            "deadline DEADLINE_EXCEEDED",
            "gzip UNIMPLEMENTED 'received a message compressed with gzip; only identity is accepted'",
            "first OK b'x'", "metadata OK b'Kubernetes AAE'",
        ];
    }

    private static Dictionary<string, GrpcHandler> Methods() => new()
    {
        ["/interop.T/Echo"] = GrpcPair.EchoAsync,
        ["/interop.T/Wait"] = async (_, aborted) =>
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, aborted);
            return GrpcStatus.Ok;
        },
        ["/interop.T/Code"] = async (call, _) => new GrpcStatus(Enum.Parse<GrpcStatusCode>((await call.ReadTextAsync())!), "café 100 %\n"),
        ["/interop.T/Metadata"] = async (call, aborted) =>
        {
            await call.SendAsync(Encoding.UTF8.GetBytes($"{call.Metadata("clusterid")} {call.Metadata("x-bin")!.TrimEnd('=')}"), aborted);
            return GrpcStatus.Ok;
        },
    };

    private static Process Start(string script, string argument) => Process.Start(new ProcessStartInfo(Python, [Path.Combine(AppContext.BaseDirectory, "Grpc", "Interop", script), argument])
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
    })!;

    private static void SkipWithoutGrpcio()
    {
        if (!File.Exists(Python) || !Directory.Exists("/usr/lib/python3/dist-packages/grpc")) { Assert.Skip("python3-grpcio is not installed (apt install python3-grpcio)"); }
    }
}
