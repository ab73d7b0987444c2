using VmSidecar.Grpc;

namespace VmSidecar.Identity;

/// <summary>How to reach and convince istiod: used for every xDS stream. Reads roots, certificate and token anew at each use.</summary>
internal interface IIstiodAccess
{
    /// <summary>Options of a new channel to istiod's xDS (TLS with SAN check, client certificate when a valid matching one is at hand).</summary>
    GrpcChannelOptions XdsChannel();

    /// <summary>Metadata of a new xDS stream: <c>clusterid</c>, <c>authorization</c> when there is a token, XDS_HEADER_*.</summary>
    IReadOnlyList<KeyValuePair<string, string>> XdsMetadata();

    /// <summary>A stream delivered its first message: what was shown is accepted.</summary>
    void NoteAnswered();

    /// <summary>A connection to istiod was made, or was about to be, and died before any answer: perhaps of the certificate shown.</summary>
    void NoteLostConnection();

    /// <summary>Says why istiod may have refused (token and certificate read locally): one line for the log.</summary>
    string ExplainRefusal(GrpcStatus status);

    /// <summary>True when an explanation is news: nobody has told it since istiod last answered. It then counts as told.</summary>
    bool Tell(string explanation);
}
