using System.Net.Sockets;

using VmSidecar.Linux;

namespace VmSidecar.Sds;

/// <summary>What stands behind the path of a unix socket.</summary>
internal enum SocketHealth
{
    /// <summary>Nothing is there.</summary>
    Absent,

    /// <summary>A file nobody listens on: left by a process that is gone.</summary>
    Dead,

    /// <summary>Somebody may listen, but it cannot be reached or does not speak HTTP/2.</summary>
    Silent,

    /// <summary>A gRPC server.</summary>
    Healthy,
}

/// <summary>The answer of <see cref="SocketProbe"/>.</summary>
/// <param name="Health">What is there.</param>
/// <param name="ProcessId">Who listens; 0: not known.</param>
/// <param name="Problem">In words, for <see cref="SocketHealth.Silent"/>.</param>
internal readonly record struct SocketAnswer(SocketHealth Health, int ProcessId, string Problem);

/// <summary>Asks a unix socket whether a gRPC server is behind it: its HTTP/2 SETTINGS must arrive (RFC 9113 §3.4), as the classic agent wants it. Removes nothing.</summary>
internal static class SocketProbe
{
    private const int HeaderLength = 9, TypeAt = 3; // RFC 9113 §4.1
    private const byte Settings = 4;                // §6.5

    // The client's preface and an empty SETTINGS frame.
    private static readonly byte[] s_hello = [.. "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8, 0, 0, 0, Settings, 0, 0, 0, 0, 0];

    /// <summary>Asks once; <paramref name="limit"/> bounds the wait for an answer.</summary>
    public static async Task<SocketAnswer> AskAsync(string path, TimeSpan limit, CancellationToken stop)
    {
        if (!File.Exists(path)) { return new(SocketHealth.Absent, 0, ""); }
        using var overrun = CancellationTokenSource.CreateLinkedTokenSource(stop);
        overrun.CancelAfter(limit);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        int process = 0;
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), overrun.Token);
            process = PeerCredentials.Of(socket)?.ProcessId ?? 0;
            await GreetAsync(socket, overrun.Token);
            return await SpeaksAsync(socket, overrun.Token)
                ? new(SocketHealth.Healthy, process, "")
                : new(SocketHealth.Silent, process, "what listens there does not speak HTTP/2");
        }
        catch (SocketException e) when (process == 0 && e.SocketErrorCode is SocketError.ConnectionRefused) { return new(SocketHealth.Dead, 0, ""); }
        catch (SocketException e) { return new(SocketHealth.Silent, process, e.Message); }
        catch (ArgumentException e) { return new(SocketHealth.Silent, 0, e.Message); } // a path longer than an address holds
        catch (OperationCanceledException) when (!stop.IsCancellationRequested) { return new(SocketHealth.Silent, process, $"no answer within {limit.TotalSeconds:0.#} s"); }
    }

    /// <summary>One that has spoken and closed already does not hear it: what it said is still to be read.</summary>
    private static async Task GreetAsync(Socket socket, CancellationToken stop)
    {
        try { await socket.SendAsync(s_hello, stop); }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.Shutdown or SocketError.ConnectionReset or SocketError.ConnectionAborted) { }
    }

    private static async Task<bool> SpeaksAsync(Socket socket, CancellationToken stop)
    {
        byte[] header = new byte[HeaderLength];
        for (int have = 0; have < HeaderLength;)
        {
            int read = await socket.ReceiveAsync(header.AsMemory(have), stop);
            if (read == 0) { return false; }
            have += read;
        }
        return header[TypeAt] == Settings;
    }
}
