using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Benchmarks.Sds;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>From the start of a DNS server's process to its first good answer to a question it has to forward: the median of several starts, and the CPU time used till then.</summary>
internal static class DnsStart
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Arguments: a name to print, the server's port, the question's name, the number of starts, the command.</summary>
    public static int Run(string[] args)
    {
        if (args is not [var name, var portText, var question, var roundsText, var program, .. var arguments]) { return 2; }
        int port = int.Parse(portText, CultureInfo.InvariantCulture), rounds = int.Parse(roundsText, CultureInfo.InvariantCulture);
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode(question)!, 0, 1, 0, 1];
        List<double> took = [], cpu = [];
        for (int round = 0; round <= rounds; round++) // the first warms the disk cache and does not count
        {
            if (!TryStart(port, query, program, arguments, out double time, out double used)) { Console.WriteLine($"{name}: no answer in {Patience.TotalSeconds} s"); return 1; }
            if (round == 0) { continue; }
            took.Add(time);
            cpu.Add(used);
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {name,-10} {Medians.Of(took),6:F1} ms (median of {rounds}; {took.Min():F1} to {took.Max():F1}), CPU {Medians.Of(cpu):F0} ms"));
        return 0;
    }

    private static bool TryStart(int port, byte[] query, string program, string[] arguments, out double took, out double used)
    {
        long begin = Stopwatch.GetTimestamp();
        using Process server = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        server.OutputDataReceived += (_, _) => { };
        server.ErrorDataReceived += (_, _) => { };
        server.BeginOutputReadLine(); // drained, or it would stop on a full pipe
        server.BeginErrorReadLine();
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(IPAddress.Loopback, port);
        byte[] reply = new byte[4096];
        bool answered = false;
        while (!answered && Stopwatch.GetElapsedTime(begin) < Patience)
        {
            try
            {
                socket.Send(query);
                if (socket.Poll(TimeSpan.FromMilliseconds(1), SelectMode.SelectRead)) { answered = socket.Receive(reply) > DnsHeader.Size && (reply[3] & DnsHeader.RcodeMask) == DnsRcode.NoError; }
            }
            catch (SocketException) { Thread.Yield(); } // nobody listens yet
        }
        took = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        server.Refresh();
        used = server.HasExited ? 0 : server.TotalProcessorTime.TotalMilliseconds;
        server.Kill();
        server.WaitForExit();
        return answered;
    }
}
