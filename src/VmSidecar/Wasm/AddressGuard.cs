using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Wasm;

/// <summary>
/// Connects fetches, but never to an address that identifies the machine: whoever may write a WasmPlugin must not read the VM's cloud
/// credentials. Every address is looked at after the name is resolved, redirects included. Where HTTP_PROXY or HTTPS_PROXY names a proxy (as pilot-agent,
/// the agent uses it, NO_PROXY excepted), it is the proxy that resolves names and connects: then only addresses written out in the plug-in or in a redirect are refused
/// here, and the rest is the proxy's rules.
/// </summary>
internal sealed class AddressGuard(ImmutableArray<IPNetwork> blocked)
{
    private static readonly ImmutableArray<IPNetwork> Always =
    [
        IPNetwork.Parse("169.254.0.0/16"),     // link-local, with the metadata services of AWS, GCP, Azure
        IPNetwork.Parse("fe80::/10"),
        IPNetwork.Parse("fd00:ec2::254/128"),  // AWS
        IPNetwork.Parse("fd20:ce::254/128"),   // GCP
        IPNetwork.Parse("100.100.100.200/32"), // Alibaba
        IPNetwork.Parse("192.0.0.192/32"),     // Oracle
        IPNetwork.Parse("168.63.129.16/32"),   // Azure's wire server
    ];

    /// <summary>True when nothing may be fetched from there.</summary>
    public bool IsBlocked(IPAddress address)
    {
        IPAddress plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return Always.Any(n => n.Contains(plain)) || blocked.Any(n => n.Contains(plain));
    }

    /// <summary>Throws where the host is written as a blocked address. Names are looked at when they are resolved.</summary>
    public void Check(Uri uri)
    {
        if (IPAddress.TryParse(uri.Host.Trim('[', ']'), out IPAddress? literal) && IsBlocked(literal)) { throw Refusal(uri.Host, literal); }
    }

    /// <summary>A connection to the first address that takes one; for SocketsHttpHandler.ConnectCallback.</summary>
    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        string host = context.DnsEndPoint.Host.Trim('[', ']');
        IPAddress[] addresses = IPAddress.TryParse(host, out IPAddress? literal) ? [literal] : await System.Net.Dns.GetHostAddressesAsync(host, cancel);
        SocketException? last = null;
        foreach (IPAddress address in addresses)
        {
            if (IsBlocked(address)) { throw Refusal(host, address); }
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, context.DnsEndPoint.Port), cancel);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException e)
            {
                socket.Dispose();
                last = e;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }

    private static ModuleException Refusal(string host, IPAddress address) =>
        new(ModuleFailure.Download, $"{host} is {address}, and modules are not fetched from link-local, metadata or blocked addresses");
}
