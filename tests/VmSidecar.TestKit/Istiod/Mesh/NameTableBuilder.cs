using System.Net;
using System.Net.Sockets;

using VmSidecar.EnvoyApi.Names;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>NDS for one node: every host with an address. 1.10 leaves out wildcard hosts and IPv6 addresses. Pure.</summary>
internal static class NameTableBuilder
{
    public static NameTable For(MeshView view)
    {
        var table = new NameTable();
        foreach (MeshService service in view.Model.Services)
        {
            if (view.IsOld && service.Host.StartsWith('*')) { continue; }
            string[] addresses = [.. view.AddressesOf(service).Where(a => !view.IsOld || IPAddress.Parse(a).AddressFamily == AddressFamily.InterNetwork)];
            if (addresses.Length == 0) { continue; }
            var entry = new NameTable.Types.NameInfo { Ips = { addresses }, Registry = service.IsKubernetes ? "Kubernetes" : "External" };
            if (service.IsKubernetes)
            {
                entry.Shortname = service.Host.Split('.')[0];
                entry.Namespace = service.Namespace;
            }
            table.Table[service.Host] = entry;
        }
        return table;
    }
}
