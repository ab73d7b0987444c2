using Microsoft.Extensions.Logging;

namespace VmSidecar.Identity;

/// <summary>The log lines of the rotation. Where the classic agent has a line, its exact text in its scope.</summary>
internal sealed partial class IdentityLog(ILoggerFactory logs)
{
    private readonly ILogger _default = logs.CreateLogger("default");
    private readonly ILogger _cache = logs.CreateLogger("cache");
    private readonly ILogger _sds = logs.CreateLogger("sds");
    private readonly ILogger _ca = logs.CreateLogger("ca");

    public void JwtPolicy(string policy) => JwtPolicyLine(_default, policy);

    public void Fetcher(string kind, string domain) => FetcherLine(_default, kind, domain);

    public void FilesOnly() => FilesOnlyLine(_default);

    public void CaEndpoint(string address) => CaEndpointLine(_default, address);

    public void UsingCa(string address, string? rootFile)
    {
        if (rootFile is null) { UsingCaSystemLine(_default, address); }
        else { UsingCaLine(_default, address, rootFile); }
    }

    public void Generated(string latency, string ttl) => GeneratedLine(_cache, latency, ttl);

    public void RootChanged() => RootChangedLine(_cache);

    public void Loaded(string folder, string ttl) => LoadedLine(_cache, folder, ttl);

    public void NotLoaded(string folder, string reason) => NotLoadedLine(_cache, folder, reason);

    public void FirstFailed(string error) => FirstFailedLine(_sds, error);

    public void RenewalFailed(string error) => RenewalFailedLine(_cache, error);

    public void Again(int failures) => AgainLine(_ca, failures);

    public void Lapsing(string left, string advice) => LapsingLine(_ca, left, advice);

    public void Lapsed(string when, string advice) => LapsedLine(_ca, when, advice);

    public void WillLapse(string problem) => WillLapseLine(_ca, problem);

    public void ClockOff(string by, string direction) => ClockOffLine(_ca, by, direction);

    public void OtherTrustDomain(string issued, string configured) => OtherTrustDomainLine(_ca, issued, configured);

    [LoggerMessage(1, LogLevel.Information, "JWT policy is {Policy}")]
    private static partial void JwtPolicyLine(ILogger log, string policy);

    [LoggerMessage(2, LogLevel.Information, "CA Endpoint {Address}, provider Citadel")]
    private static partial void CaEndpointLine(ILogger log, string address);

    [LoggerMessage(3, LogLevel.Information, "Using CA {Address} cert with certs: {RootFile}")]
    private static partial void UsingCaLine(ILogger log, string address, string rootFile);

    [LoggerMessage(4, LogLevel.Information, "Using CA {Address} cert with system certs")]
    private static partial void UsingCaSystemLine(ILogger log, string address);

    [LoggerMessage(5, LogLevel.Information, "generated new workload certificate\tlatency={Latency} ttl={Ttl}")]
    private static partial void GeneratedLine(ILogger log, string latency, string ttl);

    [LoggerMessage(6, LogLevel.Information, "Root cert has changed, start rotating root cert")]
    private static partial void RootChangedLine(ILogger log);

    [LoggerMessage(7, LogLevel.Information, "workload certificate of an earlier run is still good and is used from {Folder}\tttl={Ttl}")]
    private static partial void LoadedLine(ILogger log, string folder, string ttl);

    [LoggerMessage(8, LogLevel.Information, "certificate of an earlier run in {Folder} is not used: {Reason}")]
    private static partial void NotLoadedLine(ILogger log, string folder, string reason);

    [LoggerMessage(9, LogLevel.Warning, "failed to warm certificate: failed to generate workload certificate: create certificate: {Error}")]
    private static partial void FirstFailedLine(ILogger log, string error);

    [LoggerMessage(10, LogLevel.Error, "resource:default failed to sign: create certificate: {Error}")]
    private static partial void RenewalFailedLine(ILogger log, string error);

    [LoggerMessage(12, LogLevel.Information, "signing works again after {Failures} failed operations")]
    private static partial void AgainLine(ILogger log, int failures);

    [LoggerMessage(13, LogLevel.Error, "the workload certificate ends in {Left} and cannot be renewed: {Advice}")]
    private static partial void LapsingLine(ILogger log, string left, string advice);

    [LoggerMessage(14, LogLevel.Critical, "the workload certificate has ended at {When}; this VM is out of the mesh: {Advice}")]
    private static partial void LapsedLine(ILogger log, string when, string advice);

    [LoggerMessage(15, LogLevel.Warning, "{Problem}")]
    private static partial void WillLapseLine(ILogger log, string problem);

    [LoggerMessage(16, LogLevel.Warning, "this clock is at least {By} {Direction} istiod's; peers may refuse certificates. Set the clock (timedatectl, chrony)")]
    private static partial void ClockOffLine(ILogger log, string by, string direction);

    [LoggerMessage(17, LogLevel.Warning, "istiod issues for trust domain {Issued}, TRUST_DOMAIN says {Configured}. Correct TRUST_DOMAIN in cluster.env")]
    private static partial void OtherTrustDomainLine(ILogger log, string issued, string configured);

    [LoggerMessage(11, LogLevel.Information, "using credential fetcher of {Kind} type in {Domain} trust domain")]
    private static partial void FetcherLine(ILogger log, string kind, string domain);

    [LoggerMessage(18, LogLevel.Information, "workload certificate files detected, creating secret manager without caClient")]
    private static partial void FilesOnlyLine(ILogger log);
}
