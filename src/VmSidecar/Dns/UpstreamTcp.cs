using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>One question over one TCP connection (RFC 7766 §8): for answers too long for a datagram.</summary>
internal static class UpstreamTcp
{
    /// <summary>The answer, or null when the connection or the answer fails. Ends early with <paramref name="stop"/>.</summary>
    public static async Task<byte[]?> AskAsync(IPEndPoint server, ReadOnlyMemory<byte> query, DnsQuestion question, CancellationToken stop)
    {
        byte[] framed = new byte[query.Length + 2];
        BinaryPrimitives.WriteUInt16BigEndian(framed, (ushort)query.Length);
        query.CopyTo(framed.AsMemory(2));
        RandomNumberGenerator.Fill(framed.AsSpan(2, 2)); // the id
        using var socket = new Socket(server.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(server, stop);
            await socket.SendAsync(framed.AsMemory(), SocketFlags.None, stop);
            byte[] prefix = new byte[2];
            if (!await TryFillAsync(socket, prefix, stop)) { return null; }
            byte[] reply = new byte[BinaryPrimitives.ReadUInt16BigEndian(prefix)];
            bool good = await TryFillAsync(socket, reply, stop) && DnsReply.Answers(reply, framed.AsSpan(2), question);
            return good ? reply : null;
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            return null;
        }
    }

    private static async Task<bool> TryFillAsync(Socket socket, Memory<byte> buffer, CancellationToken stop)
    {
        while (buffer.Length > 0)
        {
            int read = await socket.ReceiveAsync(buffer, SocketFlags.None, stop);
            if (read == 0) { return false; }
            buffer = buffer[read..];
        }
        return true;
    }
}
