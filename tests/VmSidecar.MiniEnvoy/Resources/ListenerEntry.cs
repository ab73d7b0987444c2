using System.Collections.Immutable;
using System.Globalization;
using System.Net;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>One listener, checked. Immutable; a changed listener is a new entry on the same socket.</summary>
internal sealed class ListenerEntry
{
    public ListenerEntry(Listener config, SecretStore secrets, bool isStatic)
    {
        Config = config;
        IsStatic = isStatic;
        if (config.Address?.SocketAddress is not { } address || !IPAddress.TryParse(address.Address, out IPAddress? ip)) { throw new RejectedException($"malformed IP address: {config.Address?.SocketAddress?.Address}"); }
        Address = new IPEndPoint(ip, (int)address.PortValue);
        Name = config.Name.Length > 0 ? config.Name : string.Create(CultureInfo.InvariantCulture, $"{ip}_{address.PortValue}");
        foreach (ListenerFilter filter in config.ListenerFilters) { KnownExtensions.Require("envoy.filters.listener", filter.Name, filter.TypedConfig); }
        Chains = [.. config.FilterChains.Select(c => new ChainEntry(c, secrets))];
        Default = config.DefaultFilterChain is { } other ? new ChainEntry(other, secrets) : null;
        if (Chains.IsEmpty && Default is null) { throw new RejectedException($"error adding listener '{Name}': no filter chains specified"); }
        if (!isStatic) { foreach (ChainEntry chain in AllChains) { chain.CheckHttpFilters(); } }
    }

    public Listener Config { get; }
    public bool IsStatic { get; }
    public string Name { get; }
    public IPEndPoint Address { get; }
    public ImmutableArray<ChainEntry> Chains { get; }
    public ChainEntry? Default { get; }

    public bool IsInbound => Config.TrafficDirection == TrafficDirection.Inbound;

    /// <summary>Has a socket of its own; else only 15001 hands connections to it.</summary>
    public bool IsBound => (Config.BindToPort ?? true) && (Config.DeprecatedV1?.BindToPort ?? true);

    /// <summary>Hands a redirected connection to the listener of its original destination.</summary>
    public bool HandsOff => Config.UseOriginalDst ?? false;

    /// <summary>Reads the original destination of a redirected connection.</summary>
    public bool RestoresDestination => HandsOff || Has(KnownExtensions.OriginalDst, 0);

    public IEnumerable<ChainEntry> AllChains => Default is null ? Chains : Chains.Append(Default);

    /// <summary>The listener filter is there and not switched off for the port.</summary>
    public bool Has(string filter, int port) => Config.ListenerFilters.Any(f => f.Name == filter && !IsDisabled(f.FilterDisabled, port));

    private static bool IsDisabled(ListenerFilterChainMatchPredicate? rule, int port) => rule?.RuleCase switch
    {
        ListenerFilterChainMatchPredicate.RuleOneofCase.DestinationPortRange => port >= rule.DestinationPortRange.Start && port < rule.DestinationPortRange.End,
        ListenerFilterChainMatchPredicate.RuleOneofCase.OrMatch => rule.OrMatch.Rules.Any(r => IsDisabled(r, port)),
        ListenerFilterChainMatchPredicate.RuleOneofCase.AndMatch => rule.AndMatch.Rules.All(r => IsDisabled(r, port)),
        ListenerFilterChainMatchPredicate.RuleOneofCase.NotMatch => !IsDisabled(rule.NotMatch, port),
        ListenerFilterChainMatchPredicate.RuleOneofCase.AnyMatch => rule.AnyMatch,
        _ => false,
    };
}
