using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>A DNS server that has died without leaving: takes every question on port 53 of an address and answers none. Ends with SIGTERM.</summary>
internal static class DnsSilent
{
    public static async Task<int> RunAsync(string[] args)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Parse(args[0]), 53));
        var ended = new TaskCompletionSource();
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => { c.Cancel = true; ended.TrySetResult(); });
        await ended.Task;
        return 0;
    }
}
