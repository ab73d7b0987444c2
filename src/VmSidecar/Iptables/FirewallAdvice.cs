using System.Collections.Immutable;
using VmSidecar.Configuration;

namespace VmSidecar.Iptables;

/// <summary>
/// A firewall that lets in named ports only meets captured packets after their port has become Envoy's: it would drop what it means to allow, and
/// allowing Envoy's port would allow every port. Says which rule keeps its meaning. Pure.
/// </summary>
internal static class FirewallAdvice
{
    /// <summary>Null: nothing to say.</summary>
    public static string? For(CaptureOptions options, ImmutableArray<InstalledRules> variants)
    {
        if (options.Tproxy || (!options.AllInboundPorts && options.InboundPorts.IsEmpty)) { return null; }
        InstalledTable[] filters = [.. variants.SelectMany(v => v.V4).Where(t => t is { Name: "filter", DropsInput: true })];
        bool isTold = filters.Any(t => t.Rules.Any(r => r.After("--ctorigdstport") is not null));
        return filters.Length == 0 || isTold ? null
            : $"the firewall drops input by default and will see captured connections with port {options.InboundPort}: allow each service by its original port, "
                + "for example: iptables -I INPUT -p tcp -m conntrack --ctorigdstport 8080 -j ACCEPT";
    }
}
