using Microsoft.Extensions.Logging;

using VmSidecar.Logging;

namespace VmSidecar.Sds;

/// <summary>The log lines of SDS: the classic agent's texts in its scopes.</summary>
internal sealed partial class SecretLog(ILoggerFactory logs, TimeProvider time)
{
    private readonly ILogger _default = logs.CreateLogger("default");
    private readonly ILogger _sds = logs.CreateLogger("sds");
    private readonly ILogger _ads = logs.CreateLogger("ads");
    private readonly ILogger _cache = logs.CreateLogger("cache");

    public void Starting(IEnumerable<string> sockets)
    {
        StartingDefaultLine(_default);
        StartingLine(_sds);
        foreach (string socket in sockets) { StartingOnLine(_sds, socket); }
    }

    public void Opened(long connection) => OpenedLine(_ads, connection);

    public void Pushed(IReadOnlyList<(string Name, SecretValue Value)> secrets)
    {
        foreach ((string name, SecretValue value) in secrets)
        {
            string ttl = value.NotAfter is { } end ? GoDuration.Format(end - time.GetUtcNow()) : "0s";
            if (name == SecretCatalog.Certificate) { CertificateLine(_cache, ttl); }
            else if (name == SecretCatalog.Anchors) { AnchorsLine(_cache, ttl); }
        }
        if (secrets.Count == 1) { PushLine(_sds, secrets[0].Name); }
        else { PushManyLine(_sds, secrets.Count); }
    }

    public void Rejected(long connection, int code, string message) => RejectedLine(_ads, connection, code, message);

    public void Refused(long connection, string name) => RefusedLine(_sds, connection, name);

    public void Watching(string file) => WatchingLine(_cache, file);

    public void FileChanged(string file) => FileChangedLine(_cache, file);

    public void FileRead(string name) => FileReadLine(_cache, name);

    public void FileFailed(string name, string problem) => FileFailedLine(_cache, name, problem);

    public void CannotWatch(string folder, string problem) => CannotWatchLine(_cache, folder, problem);

    public void RefusedUser(uint user) => RefusedUserLine(_sds, user);

    public void BrokenRoots(string file, int broken) => BrokenRootsLine(_cache, file, broken);

    [LoggerMessage(1, LogLevel.Information, "Starting default Istio SDS Server")]
    private static partial void StartingDefaultLine(ILogger log);

    [LoggerMessage(2, LogLevel.Information, "Starting SDS grpc server")]
    private static partial void StartingLine(ILogger log);

    [LoggerMessage(3, LogLevel.Information, "Starting SDS server for workload certificates, will listen on \"{Socket}\"")]
    private static partial void StartingOnLine(ILogger log, string socket);

    [LoggerMessage(4, LogLevel.Information, "ADS: new connection for node:{Connection}")]
    private static partial void OpenedLine(ILogger log, long connection);

    [LoggerMessage(5, LogLevel.Information, "SDS: PUSH\tresource={Name}")]
    private static partial void PushLine(ILogger log, string name);

    [LoggerMessage(6, LogLevel.Information, "SDS: PUSH\tresources={Count}")]
    private static partial void PushManyLine(ILogger log, int count);

    [LoggerMessage(7, LogLevel.Information, "returned workload certificate from cache\tttl={Ttl}")]
    private static partial void CertificateLine(ILogger log, string ttl);

    [LoggerMessage(8, LogLevel.Information, "returned workload trust anchor from cache\tttl={Ttl}")]
    private static partial void AnchorsLine(ILogger log, string ttl);

    [LoggerMessage(9, LogLevel.Warning, "ADS:SDS: ACK ERROR {Connection} {Code}:{Message}")]
    private static partial void RejectedLine(ILogger log, long connection, int code, string message);

    [LoggerMessage(10, LogLevel.Warning, "refused stream {Connection}: there is no secret named '{Name}'")]
    private static partial void RefusedLine(ILogger log, long connection, string name);

    [LoggerMessage(11, LogLevel.Information, "adding watcher for file certificate {File}")]
    private static partial void WatchingLine(ILogger log, string file);

    [LoggerMessage(12, LogLevel.Information, "event for file certificate {File} : WRITE, pushing to proxy")]
    private static partial void FileChangedLine(ILogger log, string file);

    [LoggerMessage(13, LogLevel.Information, "cache read certificate from file\tresource={Name}")]
    private static partial void FileReadLine(ILogger log, string name);

    [LoggerMessage(14, LogLevel.Error, "resource:{Name} failed to generate secret for proxy from file: {Problem}")]
    private static partial void FileFailedLine(ILogger log, string name, string problem);

    [LoggerMessage(16, LogLevel.Error, "failed to watch {Folder} for file certificates: {Problem}. They are looked at every half minute instead; raise fs.inotify.max_user_watches or max_user_instances")]
    private static partial void CannotWatchLine(ILogger log, string folder, string problem);

    [LoggerMessage(17, LogLevel.Warning, "refused a client of user {User}: VMSIDECAR_SDS_PEERS does not name it")]
    private static partial void RefusedUserLine(ILogger log, uint user);

    [LoggerMessage(15, LogLevel.Error, "failed to parse some certs from file {File}: {Broken} left out")]
    private static partial void BrokenRootsLine(ILogger log, string file, int broken);
}
