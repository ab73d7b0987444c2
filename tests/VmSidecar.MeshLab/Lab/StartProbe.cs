using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace VmSidecar.MeshLab.Lab;

/// <summary>Runs inside a namespace before the agent starts there: asks DNS and the readiness port over and over and prints the instant of each first good answer, in ticks of UTC.</summary>
internal static class StartProbe
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(1);

    public static async Task<int> RunAsync(string name, CancellationToken stop)
    {
        await Console.Out.WriteLineAsync("probing");
        await Task.WhenAll(DnsAsync(name, stop), ReadyAsync(stop));
        return 0;
    }

    private static async Task DnsAsync(string name, CancellationToken stop)
    {
        byte[] query = Query(name), reply = new byte[512];
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(IPAddress.Loopback, 15053, stop);
        while (true)
        {
            try
            {
                await socket.SendAsync(query, stop);
                using var soon = CancellationTokenSource.CreateLinkedTokenSource(stop);
                soon.CancelAfter(TimeSpan.FromMilliseconds(200));
                int length = await socket.ReceiveAsync(reply, soon.Token);
                if (length > 12 && (reply[3] & 0x0f) == 0 && reply[7] > 0) { break; }
            }
            catch (SocketException) { } // nobody listens yet
            catch (OperationCanceledException) when (!stop.IsCancellationRequested) { } // lost or too slow: ask again
            await Task.Delay(Pause, TimeProvider.System, stop);
        }
        await SayAsync("dns");
    }

    private static async Task ReadyAsync(CancellationToken stop)
    {
        using var http = new HttpClient();
        while (true)
        {
            try
            {
                using HttpResponseMessage answer = await http.GetAsync(new Uri("http://127.0.0.1:15021/healthz/ready"), stop);
                if (answer.IsSuccessStatusCode) { break; }
            }
            catch (HttpRequestException) { } // not up yet
            await Task.Delay(Pause, TimeProvider.System, stop);
        }
        await SayAsync("ready");
    }

    private static Task SayAsync(string what) => Console.Out.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{what} {TimeProvider.System.GetUtcNow().UtcTicks}"));

    /// <summary>A plain A question (RFC 1035 section 4.1).</summary>
    private static byte[] Query(string name)
    {
        List<byte> query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        foreach (string label in name.Split('.')) { query.Add((byte)label.Length); query.AddRange(Encoding.ASCII.GetBytes(label)); }
        query.AddRange([0, 0, 1, 0, 1]);
        return [.. query];
    }
}
