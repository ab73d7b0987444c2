using VmSidecar.Grpc;

namespace VmSidecar.Commands.Doctor;

/// <summary>istiod accepts who this host says it is.</summary>
internal sealed class AuthenticationCheck : IDoctorCheck
{
    public string Code => "AUT001";

    public string Title => "authentication";

    public IReadOnlyList<string> Needs => ["TLS001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (IstiodConversation.IsAgentConnected(context)) { return Finding.Ok("the agent's stream is accepted"); }
        GrpcStatus? end = await IstiodConversation.AskAsync(context, stop);
        return end is { Code: GrpcStatusCode.Unauthenticated or GrpcStatusCode.PermissionDenied } refusal
            ? Finding.Fail($"istiod refuses this host: {refusal.Message}", context.Istiod!.ExplainRefusal(refusal))
            : Finding.Ok("istiod accepts this host");
    }
}
