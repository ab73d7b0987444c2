using Microsoft.Extensions.Logging;

namespace VmSidecar.Xds;

/// <summary>The relay's log lines. Texts and labels that operators grep for are the classic agent's.</summary>
internal static partial class XdsLog
{
    [LoggerMessage(1, LogLevel.Information, "Initializing with upstream address \"{Address}\" and cluster \"{Cluster}\"")]
    public static partial void Initializing(ILogger log, string address, string cluster);

    [LoggerMessage(2, LogLevel.Debug, "accepted XDS connection from Envoy, forwarding to upstream XDS server\tid={Id}")]
    public static partial void Accepted(ILogger log, long id);

    [LoggerMessage(3, LogLevel.Debug, "accepted delta xds connection from envoy, forwarding to upstream\tid={Id}")]
    public static partial void AcceptedDelta(ILogger log, long id);

    [LoggerMessage(4, LogLevel.Information, "connected to upstream XDS server: {Address}\tid={Id}")]
    public static partial void Connected(ILogger log, string address, long id);

    [LoggerMessage(5, LogLevel.Information, "connected to delta upstream XDS server: {Address}\tid={Id}")]
    public static partial void ConnectedDelta(ILogger log, string address, long id);

    [LoggerMessage(6, LogLevel.Debug, "disconnected from XDS server: {Address}\tid={Id}")]
    public static partial void Disconnected(ILogger log, string address, long id);

    [LoggerMessage(7, LogLevel.Debug, "disconnected from delta XDS server: {Address}\tid={Id}")]
    public static partial void DisconnectedDelta(ILogger log, string address, long id);

    [LoggerMessage(8, LogLevel.Debug, "failed to create upstream grpc client: {Status}\tid={Id}")]
    public static partial void DialFailed(ILogger log, string status, long id);

    [LoggerMessage(9, LogLevel.Debug, "failed to create delta upstream grpc client: {Status}\tid={Id}")]
    public static partial void DialFailedDelta(ILogger log, string status, long id);

    [LoggerMessage(10, LogLevel.Warning, "registered overlapping stream; closing previous")]
    public static partial void Overlapping(ILogger log);

    [LoggerMessage(11, LogLevel.Debug, "upstream stopped\tid={Id}")]
    public static partial void Superseded(ILogger log, long id);

    [LoggerMessage(12, LogLevel.Debug, "request for type url {TypeUrl}\tid={Id}")]
    public static partial void Request(ILogger log, string typeUrl, long id);

    [LoggerMessage(13, LogLevel.Debug, "delta request\tid={Id} type={Type} sub={Sub} unsub={Unsub} nonce={Nonce} initial={Initial}")]
    public static partial void DeltaRequest(ILogger log, long id, string type, int sub, int unsub, string nonce, int initial);

    [LoggerMessage(14, LogLevel.Debug, "upstream response\tid={Id} type={Type} resources={Resources}")]
    public static partial void Response(ILogger log, long id, string type, int resources);

    [LoggerMessage(15, LogLevel.Debug, "upstream response\tid={Id} type={Type} nonce={Nonce} resources={Resources} removes={Removes}")]
    public static partial void DeltaResponse(ILogger log, long id, string type, string nonce, int resources, int removes);

    [LoggerMessage(16, LogLevel.Debug, "upstream terminated with status {Status}\tid={Id}")]
    public static partial void UpstreamEnded(ILogger log, string status, long id);

    [LoggerMessage(17, LogLevel.Warning, "upstream terminated with unexpected error {Status}\tid={Id}")]
    public static partial void UpstreamFailed(ILogger log, string status, long id);

    [LoggerMessage(18, LogLevel.Debug, "downstream terminated with status {Status}\tid={Id}")]
    public static partial void DownstreamEnded(ILogger log, string status, long id);

    [LoggerMessage(19, LogLevel.Warning, "downstream terminated with unexpected error {Status}\tid={Id}")]
    public static partial void DownstreamFailed(ILogger log, string status, long id);

    [LoggerMessage(20, LogLevel.Error, "Skipping forwarding type url {TypeUrl} to Envoy as is not a valid Envoy type")]
    public static partial void Skipped(ILogger log, string typeUrl);

    [LoggerMessage(21, LogLevel.Error, "failed to unmarshal name table: {Error}")]
    public static partial void BadNameTable(ILogger log, string error);

    [LoggerMessage(22, LogLevel.Error, "failed to unmarshal proxy config: {Error}")]
    public static partial void BadProxyConfig(ILogger log, string error);

    [LoggerMessage(23, LogLevel.Warning, "Envoy rejected {Type}: {Error}\tid={Id}")]
    public static partial void Rejected(ILogger log, string type, string error, long id);

    [LoggerMessage(24, LogLevel.Information, "the agent's own stream to {Address} is up; Envoy has none\tmode={Mode}")]
    public static partial void OwnUp(ILogger log, string address, string mode);

    [LoggerMessage(25, LogLevel.Warning, "lost istiod at {Address} after {Connected}: {Status}; retrying")]
    public static partial void OwnLost(ILogger log, string address, string connected, string status);

    [LoggerMessage(26, LogLevel.Warning, "cannot open a stream to istiod at {Address}: {Status}; retrying")]
    public static partial void OwnFailed(ILogger log, string address, string status);

    [LoggerMessage(27, LogLevel.Warning, "istiod at {Address} refuses this VM: {Reason}")]
    public static partial void Refused(ILogger log, string address, string reason);

    [LoggerMessage(28, LogLevel.Information, "istiod at {Address} speaks {Mode}")]
    public static partial void ModeSettled(ILogger log, string address, string mode);

    [LoggerMessage(29, LogLevel.Debug, "the agent's own stream to {Address} ends: Envoy's stream has taken over")]
    public static partial void OwnHandedOver(ILogger log, string address);

    [LoggerMessage(30, LogLevel.Debug, "the agent's own stream to {Address}, attempt {Attempt}, failed: {Status}")]
    public static partial void OwnAttempt(ILogger log, string address, int attempt, string status);

    [LoggerMessage(31, LogLevel.Warning, "ended Envoy's stream: istiod takes requests too slowly, {Bytes} bytes wait\tid={Id}")]
    public static partial void QueueFull(ILogger log, long bytes, long id);

    [LoggerMessage(32, LogLevel.Warning, "sendDownstream took {Took}\tid={Id}")]
    public static partial void SlowSend(ILogger log, string took, long id);

    [LoggerMessage(48, LogLevel.Warning, "sendDownstreamDelta took {Took}\tid={Id}")]
    public static partial void SlowSendDelta(ILogger log, string took, long id);

    [LoggerMessage(49, LogLevel.Error, "failed to connect to upstream {Address}: {Reason}")]
    public static partial void CannotConnect(ILogger log, string address, string reason);

    [LoggerMessage(50, LogLevel.Warning, "a request of Envoy's has {Bytes} bytes: istiod takes 4 MiB unless it is told otherwise, and refuses more with RESOURCE_EXHAUSTED until Envoy restarts; raise ISTIO_GPRC_MAXRECVMSGSIZE at istiod, or narrow this VM's view with a Sidecar resource\ttype={Type} id={Id}")]
    public static partial void LargeRequest(ILogger log, int bytes, string type, long id);

    [LoggerMessage(33, LogLevel.Information, "this Envoy is not Istio's build: left out {Filters}, which it cannot load; telemetry and ALPN of Istio are missing, traffic and policies are not\tid={Id}")]
    public static partial void LeftOut(ILogger log, string filters, long id);

    [LoggerMessage(34, LogLevel.Information, "gave {Extensions} the configuration that today's Envoy wants and this istiod leaves out\tid={Id}")]
    public static partial void Configured(ILogger log, string extensions, long id);

    [LoggerMessage(35, LogLevel.Warning, "kept {Filters} although this Envoy cannot load it: an access rule reads what it writes, so Envoy will reject that listener; install Istio's build of Envoy\tid={Id}")]
    public static partial void Kept(ILogger log, string filters, long id);

    [LoggerMessage(36, LogLevel.Warning, "istiod cannot be reached: Envoy is served what it accepted last, from the disk (stale)\tlastSeen={Seen} ageMinutes={Minutes}")]
    public static partial void Offline(ILogger log, string seen, string minutes);

    [LoggerMessage(37, LogLevel.Information, "istiod answers: Envoy is served by it again")]
    public static partial void BackOnline(ILogger log);

    [LoggerMessage(38, LogLevel.Information, "what is kept from istiod is {Hours} h old, more than the {Limit} h allowed; not used")]
    public static partial void KeptTooOld(ILogger log, string hours, string limit);

    [LoggerMessage(51, LogLevel.Warning, "{File} ends within a record, as after a power cut; the {Count} responses before it are used")]
    public static partial void KeptTorn(ILogger log, string file, int count);

    [LoggerMessage(39, LogLevel.Warning, "{File} is damaged; nothing kept from istiod is used")]
    public static partial void KeptDamaged(ILogger log, string file);

    [LoggerMessage(40, LogLevel.Warning, "cannot keep resources for an offline start in {Folder}: {Reason}")]
    public static partial void CannotKeep(ILogger log, string folder, string reason);

    [LoggerMessage(41, LogLevel.Warning, "failed generating gRPC XDS bootstrap: {Reason}; set GRPC_XDS_BOOTSTRAP to a writable path, or to nothing when no proxyless client runs here")]
    public static partial void NoGrpcBootstrap(ILogger log, string reason);

    [LoggerMessage(42, LogLevel.Information, "Envoy {Process} is replaced by {Newer}: its stream is kept open without answers while it drains")]
    public static partial void Parked(ILogger log, int process, int newer);

    [LoggerMessage(43, LogLevel.Information, "a Wasm filter arrived ({Filter}): Envoy's V8 needs memory that it may write and execute, which the unit denies; if Envoy cannot load it, copy wasm.conf from the package's examples to /etc/systemd/system/istio.service.d/")]
    public static partial void WasmArrived(ILogger log, string filter);

    [LoggerMessage(44, LogLevel.Warning, "the Wasm filter {Filter} cannot work without its module, and its failure policy decides: {Effect}")]
    public static partial void WasmReplaced(ILogger log, string filter, string effect);

    [LoggerMessage(45, LogLevel.Error, "rejected extension configs for Envoy: {Error}\tid={Id}")]
    public static partial void ExtensionRefused(ILogger log, string error, long id);

    [LoggerMessage(46, LogLevel.Error, "downstream dropped xds push to Envoy, connection already closed\tid={Id}")]
    public static partial void Dropped(ILogger log, long id);

    [LoggerMessage(47, LogLevel.Error, "downstream dropped delta xds push to Envoy, connection already closed\tid={Id}")]
    public static partial void DroppedDelta(ILogger log, long id);

    [LoggerMessage(52, LogLevel.Debug, "istiod at {Address} closes the connection in order; the stream on it ends in {Wait}")]
    public static partial void IstiodLeaves(ILogger log, string address, string wait);

    [LoggerMessage(53, LogLevel.Information, "istiod at {Address} ended the stream after {Age}; Envoy opens the next one: {Status}\tid={Id}")]
    public static partial void EndedByIstiod(ILogger log, string address, string age, string status, long id);

    [LoggerMessage(54, LogLevel.Warning, "the disk under {Folder} has not answered for {Seconds} s: the agent stops without it, and what Envoy accepted last may be missing there at an offline start")]
    public static partial void DiskHangs(ILogger log, string folder, string seconds);

    [LoggerMessage(55, LogLevel.Warning, "the configuration of extension {Name} was not kept: Envoy is given one that it refuses, and turns away what needs it until istiod answers\tid={Id}")]
    public static partial void ExtensionNotKept(ILogger log, string name, long id);
}
