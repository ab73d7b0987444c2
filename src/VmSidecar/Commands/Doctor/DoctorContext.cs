using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Identity;

namespace VmSidecar.Commands.Doctor;

/// <summary>What the checks look at: the configuration as the daemon would read it, what is wrong on the host, and the running agent's own state. Made once per round.</summary>
internal sealed record DoctorContext
{
    public required Cli Cli { get; init; }
    public required HostPaths Paths { get; init; }
    public required ConfigLoad Load { get; init; }
    public required TimeProvider Time { get; init; }

    /// <summary>True before the first start: there is no agent to ask yet.</summary>
    public required bool InAdvance { get; init; }

    /// <summary>The running agent's state; null when none answers.</summary>
    public required JsonObject? Agent { get; init; }

    /// <summary>Findings about files of the host; empty when the configuration cannot be read.</summary>
    public required IReadOnlyList<ConfigError> Host { get; init; }

    /// <summary>Way to istiod; null when the configuration cannot be read.</summary>
    public required IstiodAccess? Istiod { get; init; }

    /// <summary>Checks that run have it: the first one fails without.</summary>
    public SidecarOptions Options => Load.Options!;

    /// <summary><c>host</c> and <c>port</c> of istiod.</summary>
    public (string Host, int Port) Discovery
    {
        get
        {
            string address = Options.Xds.DiscoveryAddress;
            int colon = address.LastIndexOf(':');
            return (address[..colon].Trim('[', ']'), int.Parse(address.AsSpan(colon + 1), System.Globalization.CultureInfo.InvariantCulture));
        }
    }

    /// <summary>A text of the agent's state by path; null when absent.</summary>
    public string? Told(string part, string field) => (Agent?[part] as JsonObject)?[field]?.ToString();

    /// <summary>The first host finding with that key as a finding; null when there is none.</summary>
    public Finding? HostFinding(string key) => Host.FirstOrDefault(e => e.Key == key) is { } error
        ? new Finding(error.IsWarning ? Outcome.Warning : Outcome.Failed, $"{error.File}: the {error.Key} {error.Problem}", error.Fix)
        : null;
}
