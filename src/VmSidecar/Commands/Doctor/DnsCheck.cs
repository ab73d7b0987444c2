using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands.Doctor;

/// <summary>The agent's DNS answers. Any answer counts: which one is the business of <c>vmsidecar dns</c>.</summary>
internal sealed class DnsCheck : IDoctorCheck
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(6); // one whole forward with its retries

    public string Code => "DNS001";

    public string Title => "DNS";

    public IReadOnlyList<string> Needs => ["CFG001", "AGT001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance || !context.Options.Dns.Enabled) { return Finding.Skip(context.InAdvance ? "the agent has not been started" : "DNS capture is off"); }
        IPEndPoint server = context.Options.Dns.Listen[0];
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(Patience);
        using var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        byte[] reply = new byte[4096];
        try
        {
            await socket.ConnectAsync(server, limit.Token);
            await socket.SendAsync(Question(context.Discovery.Host), limit.Token);
            int length = await socket.ReceiveAsync(reply, limit.Token);
            return length < 12 ? Finding.Fail("the answer is too short", "Look into /var/log/istio/istio.log") : Judge(reply[3] & 15, server, context);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return Finding.Fail($"{server} does not answer", "Look into /var/log/istio/istio.log");
        }
        catch (SocketException e)
        {
            return Finding.Fail($"{server}: {e.Message}", PortOwner.Find(server.Port) is { } owner ? $"Port {server.Port} is held by {owner}; stop it" : "Restart the agent (systemctl restart istio)");
        }
    }

    private static Finding Judge(int code, IPEndPoint server, DoctorContext context)
    {
        string table = context.Agent?["names"] is { } ? "with a name table" : "without a name table yet";
        return code is 2 or 5 // SERVFAIL, REFUSED
            ? new Finding(Outcome.Warning, $"{server} answers, but no upstream of {context.Options.Dns.ResolvConf} does", "Check the nameservers in that file")
            : Finding.Ok($"{server} answers, {table}");
    }

    /// <summary>A question for the address of a name (RFC 1035 §4.1).</summary>
    internal static byte[] Question(string name)
    {
        var query = new MemoryStream();
        query.Write(RandomNumberGenerator.GetBytes(2));
        query.Write([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion desired, one question
        foreach (string label in name.TrimEnd('.').Split('.'))
        {
            query.WriteByte((byte)label.Length);
            query.Write(System.Text.Encoding.ASCII.GetBytes(label));
        }
        query.Write([0, 0, 1, 0, 1]); // root, A, IN
        return query.ToArray();
    }
}
