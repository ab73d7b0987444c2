using VmSidecar.EnvoyApi.Tcp;
using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Envoy's tcp_proxy: one upstream connection per downstream one, bytes both ways, half-closes passed on.</summary>
internal sealed class TcpRelay(ClusterSet clusters, AccessLog access)
{
    public async Task RunAsync(Downstream downstream, CancellationToken stop)
    {
        TcpProxy config = downstream.Chain.Tcp!;
        string name = config.ClusterSpecifierCase == TcpProxy.ClusterSpecifierOneofCase.WeightedClusters ? Pick(config.WeightedClusters) : config.Cluster;
        long begin = TimeProvider.System.GetTimestamp();
        string host = "-", failure = "";
        (long Up, long Down) bytes = default;
        if (clusters.Find(name) is { } cluster)
        {
            (Duplex? upstream, Upstream? chosen, failure) = await UpstreamConnector.ConnectAsync(cluster, downstream.Destination, (int)Math.Max(0, (config.MaxConnectAttempts ?? 1) - 1), stop);
            host = chosen?.Text ?? "-";
            if (upstream is not null) { await using (upstream) { bytes = await PumpAsync(downstream.Connection, upstream, stop); } }
        }
        string flags = failure.Length == 0 ? "-" : host == "-" ? "UH" : "UF,URX";
        access.Write(config.AccessLog, $"\"- - -\" 0 {flags} - - \"{failure}\" {bytes.Up} {bytes.Down} {TimeProvider.System.GetElapsedTime(begin).TotalMilliseconds:0} - \"-\" \"-\" \"-\" \"-\" \"{host}\" {name} - {downstream.Destination} {downstream.Remote} {(downstream.ServerName.Length > 0 ? downstream.ServerName : "-")} -");
    }

    /// <summary>Until both halves have ended; a broken half ends the other.</summary>
    public static async Task<(long Up, long Down)> PumpAsync(Duplex left, Duplex right, CancellationToken stop)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task<long> up = CopyAsync(left, right, end), down = CopyAsync(right, left, end);
        return (await up, await down);
    }

    private static async Task<long> CopyAsync(Duplex from, Duplex to, CancellationTokenSource end)
    {
        long total = 0;
        byte[] buffer = new byte[32 * 1024];
        try
        {
            while (await from.Stream.ReadAsync(buffer, end.Token) is > 0 and int read)
            {
                await to.Stream.WriteAsync(buffer.AsMemory(0, read), end.Token);
                total += read;
            }
            await to.EndAsync();
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException or ObjectDisposedException or OperationCanceledException)
        {
            await end.CancelAsync(); // half of the connection is of no use alone
        }
        return total;
    }

    private static string Pick(TcpProxy.Types.WeightedCluster weighted)
    {
        long point = Random.Shared.NextInt64(Math.Max(1, weighted.Clusters.Sum(c => c.Weight)));
        return weighted.Clusters.FirstOrDefault(c => (point -= c.Weight) < 0)?.Name ?? "";
    }
}
