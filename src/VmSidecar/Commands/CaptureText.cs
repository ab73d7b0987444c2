using System.Collections.Immutable;
using System.Text.Json.Nodes;
using VmSidecar.Configuration;
using VmSidecar.Iptables;

namespace VmSidecar.Commands;

/// <summary>What the verbs of <c>iptables</c> print: rules, differences and mistakes, for people and as JSON. Pure.</summary>
internal static class CaptureText
{
    /// <summary>The input of the tool that would load the rules.</summary>
    public static string Show(CaptureOptions options) => options.Backend == CaptureBackendKind.Nftables
        ? $"# nft -f -\n{IptablesRunner.Transaction(options)}"
        : string.Concat(Programs(options).Where(p => !p.Rules.IsEmpty)
            .Select(p => $"# {(p.Family == IpFamily.V4 ? "iptables-restore" : "ip6tables-restore")} --noflush\n{RestorePlan.Show(p)}"));

    /// <summary>One object a rule, with its reason.</summary>
    public static JsonArray Rules(CaptureOptions options) => new([.. Programs(options).SelectMany(p => p.Rules.Select(r => (JsonNode)new JsonObject
    {
        ["family"] = Name(p.Family),
        ["table"] = r.Table,
        ["chain"] = r.Chain,
        ["rule"] = RuleText.Spec(r, p.Family),
        ["why"] = r.Why,
    }))]);

    /// <summary>How the kernel differs.</summary>
    public static JsonObject Diff(string backend, ImmutableArray<(IpFamily Family, TableDiff Diff)> tables) => new()
    {
        ["backend"] = backend,
        ["same"] = tables.IsEmpty,
        ["tables"] = new JsonArray([.. tables.Select(t => (JsonNode)new JsonObject
        {
            ["family"] = Name(t.Family),
            ["table"] = t.Diff.Table,
            ["missing"] = Strings(t.Diff.Missing),
            ["extra"] = Strings(t.Diff.Extra),
            ["disordered"] = Strings(t.Diff.Disordered),
            ["behind"] = Strings(t.Diff.Behind),
        })]),
    };

    /// <summary>Every mistake with place and fix; nothing was changed.</summary>
    public static JsonObject Mistakes(IEnumerable<ConfigError> mistakes) => new()
    {
        ["mistakes"] = new JsonArray([.. mistakes.Select(m => (JsonNode)new JsonObject
        {
            ["file"] = m.File, ["line"] = m.Line, ["setting"] = m.Key, ["problem"] = m.Problem, ["fix"] = m.Fix, ["warning"] = m.IsWarning,
        })]),
    };

    /// <summary>As in messages.</summary>
    public static string Name(IpFamily family) => family == IpFamily.V4 ? "ipv4" : "ipv6";

    private static IptablesProgram[] Programs(CaptureOptions options) => [IptablesProgram.For(options, IpFamily.V4), IptablesProgram.For(options, IpFamily.V6)];

    private static JsonArray Strings(ImmutableArray<string> items) => new([.. items.Select(i => (JsonNode)i)]);
}
