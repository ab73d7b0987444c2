using System.Collections.Immutable;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary>Who this workload is, before metadata: the parts of the node id that other settings refer to.</summary>
/// <param name="Type"><c>sidecar</c> or <c>router</c>.</param>
/// <param name="Name">POD_NAME, by default the short host name.</param>
/// <param name="Namespace">ISTIO_NAMESPACE, else POD_NAMESPACE, else <c>default</c>.</param>
/// <param name="Domain">--domain, by default <c>NAMESPACE.svc.cluster.local</c>.</param>
/// <param name="Addresses">Node IPs in order; never empty.</param>
internal sealed record NodeIdentity(string Type, string Name, string Namespace, string Domain, ImmutableArray<IPAddress> Addresses)
{
    private static readonly System.Buffers.SearchValues<char> s_unusable = System.Buffers.SearchValues.Create("~ \t\n\"\\"); // '~' separates the parts of the id

    /// <summary>True when every address is IPv6: loopback and wildcard are then IPv6 too.</summary>
    public bool IsIPv6 => Addresses.All(a => a.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6);

    public string Id => $"{Type}~{Addresses[0]}~{Name}.{Namespace}~{Domain}";

    public static NodeIdentity Read(SettingReader settings, HostPaths paths, INetworkFacts network)
    {
        EffectiveEnvironment environment = settings.Environment;
        string type = settings.Flags.ProxyType ?? "sidecar";
        if (type is not ("sidecar" or "router"))
        {
            settings.Errors.Add(new(SettingOrigin.CommandLine.Source, 0, "proxy type", $"'{type}' is not a type of proxy that runs on a VM", "Use sidecar, or leave it out"));
        }
        string name = ReadName(settings, network);
        string ns = ReadNamespace(settings);
        string domain = settings.Flag("domain", "") is { Length: > 0 } given ? given : $"{ns}.svc.cluster.local";
        settings.Note("--domain", domain, settings.Flags["domain"] is null ? SettingOrigin.Default : SettingOrigin.CommandLine);
        IPAddress? address = Given(settings, "ISTIO_SVC_IP") ?? Given(settings, "INSTANCE_IP");
        string istiod = HostPort.HostOf(settings.Proxy.Value["discoveryAddress"]?.ToString() ?? "");
        string hosts = EffectiveEnvironment.ReadText(paths.Hosts, settings.Errors, out _) ?? "";
        ImmutableArray<IPAddress> addresses = NodeAddresses.Select(address, NodeAddresses.Lookup(istiod, hosts), network);
        if (addresses.IsEmpty)
        {
            settings.Warn("INSTANCE_IP", environment.TryGet("INSTANCE_IP", out Setting s) ? s.Origin : SettingOrigin.Default,
                "the host has no usable address, so 127.0.0.1 is announced to the mesh", "Bring the network up first, or set ISTIO_SVC_IP");
            addresses = [IPAddress.Loopback, IPAddress.IPv6Loopback];
        }
        settings.Note("INSTANCE_IP", string.Join(",", addresses), Origin(environment, address));
        return new(type, name, ns, domain, addresses);
    }

    private static SettingOrigin Origin(EffectiveEnvironment environment, IPAddress? given) =>
        given is null ? new("host interfaces")
        : environment.NonEmpty("ISTIO_SVC_IP") is not null && environment.TryGet("ISTIO_SVC_IP", out Setting service) && IPAddress.TryParse(service.Value, out _) ? service.Origin
        : environment.TryGet("INSTANCE_IP", out Setting instance) ? instance.Origin : SettingOrigin.Default;

    private static string ReadName(SettingReader settings, INetworkFacts network)
    {
        string? host = network.HostName;
        string name = settings.NonEmptyText("POD_NAME", host ?? "");
        settings.Environment.TryGet("POD_NAME", out Setting setting);
        SettingOrigin origin = setting.Value is { Length: > 0 } ? setting.Origin : new("host name");
        settings.Note("POD_NAME", name, origin);
        if (name.Length == 0) { settings.Errors.Add(new("environment", 0, "POD_NAME", "is not set and the host has no name", "Run hostnamectl set-hostname NAME, or set POD_NAME in sidecar.env")); }
        if (name.AsSpan().ContainsAny(s_unusable))
        {
            settings.Errors.Add(new(origin.Source, origin.Line, "POD_NAME", $"'{name}' contains a character that istiod cannot take", "Use letters, digits, '-' and '.'"));
        }
        return name;
    }

    /// <summary>The start script gives ISTIO_NAMESPACE to the agent as POD_NAMESPACE; here POD_NAMESPACE alone suffices too.</summary>
    private static string ReadNamespace(SettingReader settings)
    {
        EffectiveEnvironment environment = settings.Environment;
        string? istio = environment.NonEmpty("ISTIO_NAMESPACE"), pod = environment.NonEmpty("POD_NAMESPACE");
        string variable = istio is not null || pod is null ? "ISTIO_NAMESPACE" : "POD_NAMESPACE";
        environment.TryGet(variable, out Setting setting);
        string ns = istio ?? pod ?? "default";
        SettingOrigin origin = istio is null && pod is null ? SettingOrigin.Default : setting.Origin;
        settings.Note("POD_NAMESPACE", ns, origin);
        if (istio is not null && pod is not null && istio != pod)
        {
            settings.Warn("ISTIO_NAMESPACE", origin, $"'{istio}' and POD_NAMESPACE '{pod}' differ; ISTIO_NAMESPACE applies", "Make both the namespace of the WorkloadGroup");
        }
        if (origin == SettingOrigin.Default)
        {
            settings.Warn("ISTIO_NAMESPACE", origin, "is not set, so the workload counts as one of namespace 'default'", "Copy cluster.env from istioctl's output, or set ISTIO_NAMESPACE");
        }
        return ns;
    }

    private static IPAddress? Given(SettingReader settings, string name)
    {
        if (!settings.Environment.TryGet(name, out Setting setting) || setting.Value.Length == 0) { return null; }
        if (IPAddress.TryParse(setting.Value, out IPAddress? address) && (setting.Value.Contains('.', StringComparison.Ordinal) || setting.Value.Contains(':', StringComparison.Ordinal))) { return address; }
        settings.Warn(name, setting.Origin, $"'{setting.Value}' is not an IP address; it is ignored", "Write one address such as 10.0.0.12");
        return null;
    }
}
