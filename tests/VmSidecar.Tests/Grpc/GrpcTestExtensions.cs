using System.Text;

using VmSidecar.Grpc;
using VmSidecar.TestKit;

namespace VmSidecar.Tests.Grpc;

/// <summary>Reading with a deadline.</summary>
internal static class GrpcTestExtensions
{
    public static async Task<string?> ReadTextAsync(this IGrpcStream call)
    {
        using GrpcMessage? message = await call.ReadAsync(default).AsTask().WaitAsync(Test.Deadline);
        return message is null ? null : Encoding.UTF8.GetString(message.Body.Span);
    }
}
