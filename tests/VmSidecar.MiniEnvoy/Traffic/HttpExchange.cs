namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>One request and its answer, for the access log.</summary>
internal sealed class HttpExchange
{
    public long Begin { get; init; }
    public HttpHead? Request { get; set; }
    public int Code { get; set; }
    public string Flags { get; set; } = "-";
    public string Detail { get; set; } = "-";
    public string Cluster { get; set; } = "-";
    public string Host { get; set; } = "-";
    public string Route { get; set; } = "-";
    public long Received { get; set; }
    public long Sent { get; set; }

    /// <summary>Writes the line; nothing when no request came.</summary>
    public void Log(AccessLog access, Downstream downstream)
    {
        if (Request is null && Code == 0) { return; }
        string[] words = Request?.Words ?? [];
        string detail = Detail != "-" ? Detail : Code == 404 && Cluster == "-" ? "route_not_found" : Flags == "-" ? "via_upstream" : "-";
        access.Write(
            downstream.Chain.Http!.AccessLog,
            $"\"{Word(0)} {Word(1)} {Word(2)}\" {Code} {Flags} {detail} - \"-\" {Received} {Sent} {TimeProvider.System.GetElapsedTime(Begin).TotalMilliseconds:0} - \"-\" \"{Header("user-agent")}\" \"{Header("x-request-id")}\" \"{Header("host")}\" \"{Host}\" {Cluster} - {downstream.Destination} {downstream.Remote} {(downstream.ServerName.Length > 0 ? downstream.ServerName : "-")} {(Route.Length > 0 ? Route : "-")}");

        string Word(int i) => i < words.Length ? words[i] : "-";
        string Header(string name) => Request?[name] ?? "-";
    }
}
