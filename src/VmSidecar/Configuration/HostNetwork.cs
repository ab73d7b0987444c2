using System.Collections.Immutable;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace VmSidecar.Configuration;

/// <summary>The host's own network as configuration sees it: name, interfaces, and which address routes where.</summary>
internal sealed class HostNetwork : INetworkFacts
{
    private const int AnyPort = 15012; // a UDP connect sends nothing; the port only has to be non-zero

    public string? HostName
    {
        get
        {
            string name = Environment.MachineName;
            int dot = name.IndexOf('.', StringComparison.Ordinal);
            return name.Length == 0 ? null : dot > 0 ? name[..dot] : name;
        }
    }

    public ImmutableArray<IPAddress> InterfaceAddresses()
    {
        try
        {
            return
            [
                .. NetworkInterface.GetAllNetworkInterfaces()
                    .Where(nic => nic.OperationalStatus is OperationalStatus.Up or OperationalStatus.Unknown && nic.NetworkInterfaceType != NetworkInterfaceType.Loopback)
                    .SelectMany(nic => nic.GetIPProperties().UnicastAddresses)
                    .Select(unicast => unicast.Address)
                    .Where(address => !IPAddress.IsLoopback(address)),
            ];
        }
        catch (NetworkInformationException)
        {
            return []; // no /proc or /sys: as good as no interface
        }
    }

    public IPAddress? SourceFor(IPAddress peer)
    {
        try
        {
            using var socket = new Socket(peer.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            socket.Connect(new IPEndPoint(peer, AnyPort));
            return (socket.LocalEndPoint as IPEndPoint)?.Address;
        }
        catch (SocketException)
        {
            return null; // no route, or no such family here
        }
    }
}
