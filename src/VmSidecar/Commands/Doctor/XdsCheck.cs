using VmSidecar.Grpc;

namespace VmSidecar.Commands.Doctor;

/// <summary>istiod sends configuration.</summary>
internal sealed class XdsCheck : IDoctorCheck
{
    public string Code => "XDS001";

    public string Title => "configuration stream";

    public IReadOnlyList<string> Needs => ["AUT001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (IstiodConversation.IsAgentConnected(context))
        {
            return Finding.Ok($"{(context.Told("istiod", "stream") == "Joint" ? "Envoy's and the agent's" : "the agent's own")} since {context.Told("istiod", "since")}");
        }
        GrpcStatus? end = await IstiodConversation.AskAsync(context, stop);
        return end is null ? Finding.Ok("istiod answers") : Finding.Fail($"istiod ended the stream: {end}", context.Istiod!.ExplainRefusal(end.Value));
    }
}
