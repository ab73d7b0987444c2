using System.Net;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>Arguments of the stand-alone FakeIstiod.</summary>
internal sealed record IstiodProgramOptions(string State, IPEndPoint Listen, string Control)
{
    public IstiodVersion Version { get; init; } = IstiodVersion.V1_31;

    /// <summary>Address of the scenario's pod.</summary>
    public string Pod { get; init; } = "10.99.0.3";

    /// <summary>Send what only Istio's Envoy loads, as a default istiod does.</summary>
    public bool IstioFilters { get; init; }

    /// <summary>Reads <c>--state DIR --listen IP:PORT --control PATH [--version 1.10|1.31] [--pod IP] [--istio-filters]</c>.</summary>
    public static IstiodProgramOptions Parse(IReadOnlyList<string> args)
    {
        string? Value(string name)
        {
            for (int i = 0; i + 1 < args.Count; i++)
            {
                if (args[i] == name) { return args[i + 1]; }
            }
            return null;
        }
        string Needed(string name) => Value(name) ?? throw new ArgumentException($"{name} is missing");
        return new IstiodProgramOptions(Needed("--state"), IPEndPoint.Parse(Needed("--listen")), Needed("--control"))
        {
            Version = Value("--version") == "1.10" ? IstiodVersion.V1_10 : IstiodVersion.V1_31,
            Pod = Value("--pod") ?? "10.99.0.3",
            IstioFilters = args.Contains("--istio-filters"),
        };
    }
}
