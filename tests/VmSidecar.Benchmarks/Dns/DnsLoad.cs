using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>
/// Asks at a fixed rate, whether answers come or not, and prints percentiles of the time each took from when it was due: a server that stalls is charged
/// for all that had to wait. Names are the first words of the lines of a file, as dnsperf takes them.
/// </summary>
internal static class DnsLoad
{
    private const int Outstanding = 1 << 16; // one a query id

    public static int Run(string[] args)
    {
        int port = int.Parse(args[0], CultureInfo.InvariantCulture), rate = int.Parse(args[2], CultureInfo.InvariantCulture), seconds = int.Parse(args[3], CultureInfo.InvariantCulture);
        byte[][] queries = [.. File.ReadLines(args[1]).Select(line => (byte[])[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode(line.Split(' ')[0])!, 0, 1, 0, 1])];
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { Blocking = false, ReceiveBufferSize = 4 << 20 };
        socket.Connect(IPAddress.Loopback, port);
        long[] due = new long[Outstanding];
        List<double> took = new(rate * seconds);
        byte[] reply = new byte[4096];
        long begin = Stopwatch.GetTimestamp(), total = (long)rate * seconds, sent = 0;
        while (took.Count < total)
        {
            long now = Stopwatch.GetTimestamp();
            if (now - begin > (seconds + 1) * Stopwatch.Frequency) { break; } // what has not come by now is lost
            for (long next; sent < total && (next = begin + sent * Stopwatch.Frequency / rate) <= now; sent++)
            {
                byte[] query = queries[sent % queries.Length];
                BinaryPrimitives.WriteUInt16BigEndian(query, (ushort)sent);
                due[sent % Outstanding] = next;
                try { socket.Send(query); }
                catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.NoBufferSpaceAvailable) { }
            }
            while (socket.Poll(sent < total ? 0 : 1000, SelectMode.SelectRead))
            {
                if (socket.Receive(reply, SocketFlags.None, out SocketError error) < 2 || error != SocketError.Success) { break; }
                took.Add(Stopwatch.GetElapsedTime(due[BinaryPrimitives.ReadUInt16BigEndian(reply)]).TotalMicroseconds);
            }
        }
        took.Sort();
        if (took.Count == 0) { Console.WriteLine("no answer at all"); return 1; }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{rate} QPS: p50 {At(took, .5):F0} us  p99 {At(took, .99):F0} us  p99.9 {At(took, .999):F0} us  longest {took[^1]:F0} us  lost {total - took.Count}"));
        return 0;
    }

    private static double At(List<double> sorted, double part) => sorted[Math.Min(sorted.Count - 1, (int)(sorted.Count * part))];
}
