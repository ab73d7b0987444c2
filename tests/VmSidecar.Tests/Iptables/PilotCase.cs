using System.Collections.Immutable;
using System.Net;
using System.Text.Json.Nodes;
using VmSidecar.Configuration;
using VmSidecar.Iptables;

namespace VmSidecar.Tests.Iptables;

/// <summary>One recorded run of pilot-agent's istio-iptables: its arguments and the rules that stood afterwards.</summary>
public sealed class PilotCase
{
    private PilotCase(string version, JsonNode recorded)
    {
        Version = version;
        Name = recorded["name"]!.ToString();
        Exit = (int)recorded["exit"]!;
        Arguments = [.. recorded["args"]!.AsArray().Select(a => a!.ToString())];
        Tables = Read(recorded["ipv4"]);
        IPv6Tables = Read(recorded["ipv6"]);
    }

    public string Version { get; }

    public string Name { get; }

    public int Exit { get; }

    internal ImmutableArray<string> Arguments { get; }

    internal ImmutableArray<InstalledTable> Tables { get; }

    internal ImmutableArray<InstalledTable> IPv6Tables { get; }

    public override string ToString() => $"{Version} {Name}";

    /// <summary>The host the recording was made on.</summary>
    internal static CaptureHost Host { get; } = new()
    {
        ResolvConf = "nameserver 10.0.0.53\nnameserver 10.0.0.54\n",
        Addresses = [IPAddress.Parse("10.0.0.12"), IPAddress.Parse("2001:db8::12")],
    };

    public static IReadOnlyList<PilotCase> All { get; } =
    [
        .. from version in new[] { "1.10", "1.31" }
           from recorded in JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Fixtures", "iptables", $"{version}.json")))!["cases"]!.AsArray()
           select new PilotCase(version, recorded!),
    ];

    /// <summary>Our program for the same arguments.</summary>
    internal IptablesProgram Program(IpFamily family, params string[] more)
    {
        string[] compat = Version == "1.10" ? ["--rules-compat", "1.10"] : [];
        return IptablesProgram.For(Options([.. Arguments, .. compat, .. more], Host), family);
    }

    internal static CaptureOptions Options(IReadOnlyList<string> arguments, CaptureHost host, IReadOnlyDictionary<string, string>? environment = null)
    {
        if (!CaptureFlagParser.TryParse(arguments, out ImmutableDictionary<string, string> flags, out string problem)) { throw new InvalidOperationException(problem); }
        var errors = new List<ConfigError>();
        CaptureOptions options = new CaptureOptionsReader(host, environment ?? new Dictionary<string, string>(), errors).Read(flags);
        return errors.Any(e => !e.IsWarning) ? throw new InvalidOperationException(string.Join('\n', errors)) : options;
    }

    /// <summary>The tables a program leaves on an empty host, read back from the text that loads it, without comments.</summary>
    internal static ImmutableArray<InstalledTable> Load(IptablesProgram program)
    {
        var tables = ImmutableArray.CreateBuilder<InstalledTable>();
        foreach (string table in program.Tables)
        {
            tables.Add(new(table, [.. program.ChainsOf(table)],
                [.. program.Rules.Where(r => r.Table == table).Select(r => Parse($"-A {r.Chain} {Bare(RuleText.Spec(r, program.Family))}"))], HasPolicies: false));
        }
        return tables.ToImmutable();
    }

    internal static InstalledRule Parse(string line) =>
        InstalledRule.TryParse(line, out InstalledRule? rule) ? rule : throw new InvalidOperationException($"not a rule: {line}");

    internal static string Bare(string spec)
    {
        int at = spec.IndexOf("-m comment --comment \"", StringComparison.Ordinal);
        return at < 0 ? spec : spec[..at] + spec[(spec.IndexOf("\" ", at + 23, StringComparison.Ordinal) + 2)..];
    }

    private static ImmutableArray<InstalledTable> Read(JsonNode? family)
    {
        var tables = ImmutableArray.CreateBuilder<InstalledTable>();
        foreach ((string name, JsonNode? lines) in family as JsonObject ?? [])
        {
            string[] text = [.. lines!.AsArray().Select(l => l!.ToString())];
            tables.Add(new(name, [.. text.Where(l => l.StartsWith(':')).Select(l => l[1..l.IndexOf(' ', StringComparison.Ordinal)])],
                [.. text.Where(l => l.StartsWith("-A", StringComparison.Ordinal)).Select(Parse)], HasPolicies: false));
        }
        return tables.ToImmutable();
    }
}
