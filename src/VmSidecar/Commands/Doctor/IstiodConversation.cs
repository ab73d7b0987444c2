using System.Net.Sockets;

using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

namespace VmSidecar.Commands.Doctor;

/// <summary>
/// One stream to istiod, names only, without registration, so that it changes nothing in the mesh; made where the running agent has none.
/// The answer, or how the stream ended.
/// </summary>
internal static class IstiodConversation
{
    /// <summary>Null when istiod answered, else the status it ended with.</summary>
    public static async Task<GrpcStatus?> AskAsync(DoctorContext context, CancellationToken stop)
    {
        await using var channel = new GrpcChannel(context.Istiod!.XdsChannel());
        try
        {
            await using IGrpcClientCall call = await channel.OpenAsync(XdsMessages.SotwMethod, context.Istiod.XdsMetadata(), stop);
            try { await call.SendAsync(XdsMessages.Subscribe(delta: false, XdsTypeUrl.NameTable, NodeMessage.WithoutRegistration(context.Options.Node)), stop); }
            catch (GrpcException) { } // a server may refuse before it reads; why is in its answer
            using GrpcMessage? answer = await call.ReadAsync(stop);
            return answer is null ? call.Status : null;
        }
        catch (GrpcException e)
        {
            return e.Status;
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            return new GrpcStatus(GrpcStatusCode.Unavailable, e.Message);
        }
    }

    /// <summary>True when the running agent has a stream: no need to open another.</summary>
    public static bool IsAgentConnected(DoctorContext context) => context.Told("istiod", "stream") is "Joint" or "Agent";
}
