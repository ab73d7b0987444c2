using System.Text;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

public sealed class GrpcCallTests
{
    [Fact]
    public async Task Messages_come_back_and_the_half_close_ends_the_call_with_the_servers_status()
    {
        await using GrpcPair pair = await GrpcPair.OverUnixAsync(GrpcPair.EchoAsync);
        await using IGrpcClientCall call = await pair.OpenAsync();
        foreach (string text in new[] { "one", "", "three" })
        {
            await call.SendAsync(Encoding.UTF8.GetBytes(text), default);
            Assert.Equal(text, await ReadTextAsync(call));
        }
        await call.CompleteAsync(default);
        Assert.Null(await ReadTextAsync(call));
        Assert.Equal(GrpcStatus.Ok, call.Status);
    }

    private static async Task<string?> ReadTextAsync(IGrpcClientCall call)
    {
        using GrpcMessage? message = await call.ReadAsync(default).AsTask().WaitAsync(Test.Deadline);
        return message is null ? null : Encoding.UTF8.GetString(message.Body.Span);
    }
}
