using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Commands.Doctor;

/// <summary>istiod's name resolves, by /etc/hosts or the host's resolver.</summary>
internal sealed class NameCheck : IDoctorCheck
{
    public string Code => "NET001";

    public string Title => "istiod's name";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        string host = context.Discovery.Host;
        try
        {
            IPAddress[] addresses = await System.Net.Dns.GetHostAddressesAsync(host, stop);
            return Finding.Ok($"{host} is {string.Join(", ", addresses.Take(4).Select(a => a.ToString()))}");
        }
        catch (SocketException e)
        {
            return Finding.Fail($"{host} does not resolve ({e.Message})", $"Put the east-west gateway's address and {host} into {context.Paths.Hosts} (istioctl's 'hosts' file has the line)");
        }
    }
}
