namespace VmSidecar.Xds;

/// <summary>Turns Envoy's refusal into what an operator can do about it. Pure.</summary>
internal static class NackAdvice
{
    private const string Missing = "Didn't find a registered implementation for '";

    /// <summary>The remedy, as the end of a log line; empty where there is none to name.</summary>
    public static string For(string error)
    {
        int at = error.IndexOf(Missing, StringComparison.Ordinal);
        if (at < 0) { return ""; }
        string rest = error[(at + Missing.Length)..];
        int end = rest.IndexOf('\'', StringComparison.Ordinal);
        string name = end < 0 ? rest : rest[..end];
        string why = name == "istio_authn"
            ? "it cannot be left out, because an access rule of the same listener reads what it writes"
            : "it is not one that can be left out safely";
        return $". This Envoy has no '{name}' and {why}: install Istio's build of Envoy, or turn the feature off in the mesh";
    }
}
