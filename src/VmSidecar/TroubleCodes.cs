using System.Collections.Immutable;
using System.Globalization;

using VmSidecar.Dns;
using VmSidecar.Envoy;
using VmSidecar.Identity;
using VmSidecar.Metrics;
using VmSidecar.Xds;

namespace VmSidecar;

/// <summary>What is wrong now, by the codes of <c>vmsidecar doctor</c>, as far as the running agent knows without asking anybody: for its metrics and for the line of <c>systemctl status</c>. Stateless; reads what the components publish.</summary>
internal sealed class TroubleCodes(XdsProxy xds, CertificateRotator rotator, EnvoySupervisor envoy, DnsServer? dns, TimeProvider time)
{
    /// <summary>Every code that can be reported, causes before effects.</summary>
    public static readonly ImmutableArray<string> All = ["AUT001", "CRT001", "XDS001", "ENV001", "ENV002", "DNS001"];

    /// <summary>One gauge a code, 1 while it holds.</summary>
    public void Register(MetricRegistry metrics)
    {
        foreach (string code in All) { metrics.Observe("trouble", "1 while this agent sees this trouble; the codes are those of 'vmsidecar doctor'.", () => Holds(code) ? 1 : 0, $"code=\"{code}\""); }
    }

    /// <summary>The codes that hold now, in order.</summary>
    public IEnumerable<string> Now() => All.Where(Holds);

    /// <summary>One line beside the state: <c>istiod connected; certificate until 2026-11-24 10:00 UTC; envoy pid 812</c>, or the codes first.</summary>
    public string Line()
    {
        XdsStatus relay = xds.Status;
        EnvoyState state = envoy.State.Current!;
        string[] codes = [.. Now()];
        string certificate = rotator.Status.Current is { Source: "external SDS" } ? "certificate from an external SDS" : rotator.Status.Current?.CertificateUntil is { } until ? $"certificate until {until.UtcDateTime.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)} UTC" : "no certificate";
        string istiod = relay.Owner == XdsStreamOwner.None ? "no istiod" : relay.ServingFrom is null ? "istiod connected" : "istiod connected, Envoy served from disk";
        string identity = rotator.Status.Current?.Trouble is { Length: > 0 } trouble ? "; " + trouble : ""; // a lapse must show while there is time
        string process = state.HasProcess ? $"envoy pid {state.ProcessId}" : $"envoy {state.Phase}";
        return $"{(codes.Length == 0 ? "" : $"[{string.Join(' ', codes)}: see vmsidecar doctor] ")}{istiod}; {certificate}; {process}{identity}";
    }

    private bool Holds(string code) => code switch
    {
        "AUT001" => rotator.Status.Current is { Failures: > 0, Condition: not IdentityCondition.Good },
        "CRT001" => rotator.Status.Current is { CertificateUntil: { } until } && until <= time.GetUtcNow(),
        "XDS001" => xds.Status.Owner == XdsStreamOwner.None,
        "ENV001" => envoy.State.Current is { Phase: EnvoyPhase.Missing },
        "ENV002" => envoy.State.Current is { Phase: EnvoyPhase.BackingOff },
        _ => dns is { Names.Received.Current: null },
    };
}
