using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Configuration;

/// <summary>
/// Makes <see cref="CaptureOptions"/> of flags, environment and host. Flag before variable before default; of two variables of one input the later in
/// <see cref="CaptureFlag"/> wins (in 1.10 mode the earlier); an empty variable counts as unset. Every value is checked before a command runs.
/// </summary>
internal sealed class CaptureOptionsReader(CaptureHost host, IReadOnlyDictionary<string, string> environment, ICollection<ConfigError> errors)
{
    private const uint FallbackUid = 1337; // where there is no istio-proxy user: the id all Istio images use
    private const int MaxGroups = 64;      // one rule with one match a group; the kernel's limit of matches is not far above

    /// <summary>Where a variable was set, for messages; by default just <c>environment</c>.</summary>
    public Func<string, (string File, int Line)> Origin { get; init; } = _ => ("environment", 0);

    private ImmutableDictionary<string, string> _flags = ImmutableDictionary<string, string>.Empty;
    private static readonly IPAddress s_virtual = IPAddress.Parse("240.240.0.1");

    private bool _compat110;

    /// <summary>Reads everything; the result counts only if no error (other than warnings) was added.</summary>
    public CaptureOptions Read(ImmutableDictionary<string, string> flags)
    {
        _flags = flags;
        _compat110 = Compat();
        CaptureValues values = new(errors);
        (ImmutableArray<uint> uids, ImmutableArray<uint> gids) = Proxy(values);
        bool redirectDns = IsOn("redirect-dns"), all = IsOn("capture-all-dns") && !_compat110;
        ImmutableArray<IPAddress> servers = redirectDns && !all ? Servers() : [];
        bool exact = IsOn("exact"), noServers = redirectDns && !all && servers.IsEmpty;
        Given inbound = Get("istio-inbound-ports"), cidrs = Get("istio-service-cidr");
        var options = new CaptureOptions
        {
            CustomRules = environment.GetValueOrDefault("ISTIO_CUSTOM_IP_TABLES") == "true",
            ProxyPort = values.Port(Get("envoy-port"), 15001),
            InboundPort = values.Port(Get("inbound-capture-port"), 15006),
            TunnelPort = values.Port(Get("inbound-tunnel-port"), 15008),
            ProxyUids = uids,
            ProxyGids = gids,
            Tproxy = Get("istio-inbound-interception-mode").Text == "TPROXY",
            TproxyMark = values.Number(Get("istio-inbound-tproxy-mark"), 1337),
            TproxyTable = values.Number(Get("istio-inbound-tproxy-route-table"), 133),
            AllInboundPorts = inbound.Text == "*",
            InboundPorts = inbound.Text == "*" ? [] : values.Ports(inbound),
            InboundExcludedPorts = values.Ports(Get("istio-local-exclude-ports")),
            AllOutboundCidrs = cidrs.Text == "*",
            OutboundCidrs = cidrs.Text == "*" ? [] : values.Cidrs(cidrs),
            OutboundExcludedCidrs = values.Cidrs(Get("istio-service-exclude-cidr")),
            OutboundPorts = values.Ports(Get("istio-outbound-ports")),
            OutboundExcludedPorts = values.Ports(Get("istio-local-outbound-ports-exclude")),
            KubeVirtInterfaces = values.Interfaces(Get("kube-virt-interfaces")),
            ExcludedInterfaces = values.Interfaces(Get("istio-exclude-interfaces")),
            ContainerBridges = exact || IsOn("capture-container-bridges") ? [] : host.ContainerBridges,
            OwnerGroups = OnlyGroups(values),
            ExcludedOwnerGroups = Groups(values, Get("istio-outbound-owner-groups-exclude")),
            RedirectDns = redirectDns && !noServers,
            CaptureAllDns = all,
            DnsZones = !_compat110 || !exact || IsOn("dns-conntrack-zone"),
            DnsServers = servers,
            DropInvalid = IsOn("drop-invalid"),
            IPv6 = UsesIPv6(),
            Loopback = values.Loopback(Get("istio-outbound-ipv4-loopback-cidr")),
            Compat110 = _compat110,
            Safety = !exact,
            NeverInboundPorts = Never(values),
            Backend = Backend(),
            FailOpen = FailsOpen(),
            DeadLimit = TimeSpan.FromSeconds(values.Number(Get("dead-limit"), 60)),
            RunValidation = IsOn("run-validation"),
            ProbePort = values.Port(Get("iptables-probe-port"), 15002),
            ProbeTimeout = Patience(),
            DryRun = IsOn("dry-run"),
            SkipApply = IsOn("skip-rule-apply"),
            CleanupOnly = IsOn("cleanup-only"),
        };
        WarnOfVirtualIps(options, cidrs);
        WarnOfNames(options);
        WarnOfMode(Get("istio-inbound-interception-mode"));
        return options;
    }

    /// <summary>What is allowed and hardly meant.</summary>
    private void WarnOfNames(CaptureOptions options)
    {
        if (_compat110 && IsOn("capture-all-dns"))
        {
            Doubt(Get("capture-all-dns"), "is not known to the rule set of 1.10: only queries to the servers of resolv.conf are captured", "Leave it off, or set VMSIDECAR_RULES_COMPAT=current");
        }
        if (options.CaptureAllDns && host.NameServers().FirstOrDefault(IPAddress.IsLoopback) is { } forwarder)
        {
            Doubt(Get("capture-all-dns"), $"captures also what the forwarder {forwarder} on this host asks its own servers: names go round in a circle", "Leave it off: queries to the servers of resolv.conf are captured without it");
        }
        if (options is { RedirectDns: true, Compat110: false } && options.OutboundExcludedPorts.Contains("53"))
        {
            Doubt(Get("istio-local-outbound-ports-exclude"), "excludes port 53, so names are not captured", "Remove 53, or set ISTIO_META_DNS_CAPTURE=false");
        }
    }

    /// <summary>As in the classic agent every word but TPROXY redirects, NONE too.</summary>
    private void WarnOfMode(Given mode)
    {
        if (mode.Text is "" or "REDIRECT" or "TPROXY") { return; }
        Doubt(mode, mode.Text == "NONE" ? "NONE keeps no rule away: connections are redirected to Envoy all the same, as with the classic agent" : $"'{mode.Text}' is no interception mode and is taken for REDIRECT",
            "Use REDIRECT or TPROXY; for no capture leave out ISTIO_INBOUND_PORTS and ISTIO_SERVICE_CIDR, or run no 'iptables apply'");
    }

    private void Doubt(Given given, string problem, string fix) => errors.Add(given.Error(problem, fix) with { IsWarning = true });

    /// <summary>A virtual IP that is not captured goes nowhere: no host has it.</summary>
    private void WarnOfVirtualIps(CaptureOptions options, Given cidrs)
    {
        if (!options.RedirectDns || options.AllOutboundCidrs || options.OutboundCidrs.IsEmpty || options.OutboundCidrs.Any(c => c.Contains(s_virtual) && c.PrefixLength <= 16)) { return; }
        errors.Add(cidrs.Error("leaves out 240.240.0.0/16, the virtual IPs that istiod gives ServiceEntries: connections to them fail", "Add 240.240.0.0/15 (the second half is the agent's own virtual IPs)") with { IsWarning = true });
    }

    private bool Compat()
    {
        Given given = Get("rules-compat");
        if (given.Text is not ("" or "1.10" or "current")) { Add(given, $"'{given.Text}' is not a rule set", "Use 1.10 or current"); }
        return given.Text == "1.10";
    }

    private (ImmutableArray<uint> Uids, ImmutableArray<uint> Gids) Proxy(CaptureValues values)
    {
        Given uid = Get("proxy-uid"), gid = Get("proxy-gid");
        string user = environment.GetValueOrDefault("ENVOY_USER") is { Length: > 0 } name ? name : "istio-proxy";
        (uint Uid, uint Gid)? entry = host.User(user);
        if (uid.Text.Length == 0 && entry is null)
        {
            errors.Add(new("environment", 0, "ENVOY_USER", $"there is no user '{user}' in the passwd file; rules are for uid {FallbackUid}", "Create the user, or set PROXY_UID", IsWarning: true));
        }
        ImmutableArray<uint> uids = uid.Text.Length > 0 ? values.Ids(uid) : [entry?.Uid ?? FallbackUid];
        if (gid.Text.Length > 0) { return (uids, values.Ids(gid)); }
        // The primary group of each user; the classic agent takes the uid's number, which on Debian is somebody else's group.
        return (uids, [.. uids.Select(u => host.User(u.ToString(System.Globalization.CultureInfo.InvariantCulture))?.Gid ?? u).Distinct()]);
    }

    private ImmutableArray<IPAddress> Servers()
    {
        if (host.ResolvConf is null)
        {
            errors.Add(new(host.ResolvConfPath, 0, "nameserver", "the file cannot be read, and DNS capture is on", "Create it with one nameserver line, or set ISTIO_META_DNS_CAPTURE=false"));
            return [];
        }
        ImmutableArray<IPAddress> servers = [.. host.NameServers()];
        if (servers.IsEmpty)
        {
            errors.Add(new(host.ResolvConfPath, 0, "nameserver", "REDIRECT_DNS is set, but CAPTURE_ALL_DNS is false, and no DNS servers provided. DNS capture disabled", "Add a nameserver line", IsWarning: true));
        }
        return servers;
    }

    private ImmutableArray<uint>? OnlyGroups(CaptureValues values)
    {
        Given given = Get("istio-outbound-owner-groups");
        if (given.Text == "*" || !given.IsSet) { return null; }
        ImmutableArray<uint> groups = Groups(values, given);
        if (groups.Length > MaxGroups) { Add(given, $"{groups.Length} groups are more than {MaxGroups}", "Name fewer groups, or exclude others with ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"); }
        return groups;
    }

    private ImmutableArray<uint> Groups(CaptureValues values, Given given)
    {
        var ids = ImmutableArray.CreateBuilder<uint>();
        foreach (string item in CaptureValues.Items(given.Text))
        {
            if (CaptureValues.TryNumber(item, out uint id) || (host.GroupId(item) is { } named && (id = named) == named)) { ids.Add(id); }
            else { Add(given, $"there is no group '{item}'", "Use a group of /etc/group or its number"); }
        }
        return ids.ToImmutable();
    }

    /// <summary>The classic rule: IPv6 counts when the first address is one, or dual stack is asked for and there is one.</summary>
    private bool UsesIPv6()
    {
        IEnumerable<IPAddress> addresses = host.Addresses.Where(a => _compat110 || !a.IsIPv6LinkLocal);
        bool dual = IsOn("dual-stack");
        return dual ? addresses.Any(a => a.AddressFamily == AddressFamily.InterNetworkV6)
            : addresses.FirstOrDefault() is { AddressFamily: AddressFamily.InterNetworkV6 };
    }

    private ImmutableArray<string> Never(CaptureValues values)
    {
        Given given = Get("never-capture-ports");
        return given.Text == "none" ? [] : given.Text.Length == 0 ? host.SshPorts : values.Ports(given);
    }

    private CaptureBackendKind Backend()
    {
        Given given = Get("backend"), forced = Get("force-iptables-binary");
        if (given.Text.Length == 0) { given = forced; }
        if (given.Text.Length == 0 && IsOn("native-nftables")) { return CaptureBackendKind.Nftables; }
        switch (given.Text)
        {
            case "" or "auto": return CaptureBackendKind.Automatic;
            case "nft" or "iptables-nft": return CaptureBackendKind.IptablesNft;
            case "legacy" or "iptables-legacy": return CaptureBackendKind.IptablesLegacy;
            case "nftables" when given.Name == "--backend" || given.Name == "VMSIDECAR_IPTABLES_BACKEND": return CaptureBackendKind.Nftables;
            default:
                Add(given, $"'{given.Text}' is not a back end", "Use auto, iptables-nft, iptables-legacy or nftables");
                return CaptureBackendKind.Automatic;
        }
    }

    private bool FailsOpen()
    {
        Given given = Get("failure-mode");
        if (given.Text is not ("" or "open" or "closed")) { Add(given, $"'{given.Text}' is not a failure mode", "Use closed or open"); }
        return given.Text == "open";
    }

    private TimeSpan Patience()
    {
        Given given = Get("probe-timeout");
        if (given.Text.Length == 0) { return TimeSpan.FromSeconds(5); }
        if (GoValue.TryDuration(given.Text, out TimeSpan patience) && patience > TimeSpan.Zero && patience <= TimeSpan.FromHours(1)) { return patience; }
        Add(given, $"'{given.Text}' is not a duration", "Use seconds such as 5s");
        return TimeSpan.FromSeconds(5);
    }

    private bool IsOn(string name)
    {
        Given given = Get(name);
        if (given.Text.Length == 0) { return false; }
        if (given.Text is "1" or "t" or "T" or "TRUE" or "true" or "True") { return true; }
        if (given.Text is not ("0" or "f" or "F" or "FALSE" or "false" or "False")) { Add(given, $"'{given.Text}' is neither true nor false", "Use true or false"); }
        return false;
    }

    private Given Get(string name)
    {
        if (_flags.TryGetValue(name, out string? value)) { return new(value.Trim(), $"--{name}", "command line", 0, IsSet: true); }
        ImmutableArray<string> variables = CaptureFlag.All.First(f => f.Name == name).Variables;
        IEnumerable<string> strongestFirst = _compat110 ? variables : variables.Reverse();
        bool present = false;
        foreach (string variable in strongestFirst)
        {
            if (!environment.TryGetValue(variable, out string? text)) { continue; }
            present = true;
            if (text.Trim().Length == 0) { continue; }
            (string file, int line) = Origin(variable);
            return new(text.Trim(), variable, file, line, IsSet: true);
        }
        return new("", variables.FirstOrDefault() ?? name, "environment", 0, present);
    }

    private void Add(Given given, string problem, string fix) => errors.Add(given.Error(problem, fix));

    /// <summary>A value as it was given, and where.</summary>
    internal readonly record struct Given(string Text, string Name, string File, int Line, bool IsSet)
    {
        public ConfigError Error(string problem, string fix) => new(File, Line, Name, problem, fix);
    }
}
