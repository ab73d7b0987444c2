using System.Globalization;
using System.Text.RegularExpressions;

namespace VmSidecar.Envoy;

/// <summary>Version of the Envoy that was found: arguments and bootstrap fields depend on it, because Envoy refuses what it does not know.</summary>
internal readonly partial record struct EnvoyVersion(int Major, int Minor, int Patch) : IComparable<EnvoyVersion>
{
    /// <summary>What is assumed of an Envoy that does not say: the oldest of the releases still maintained upstream.</summary>
    public static EnvoyVersion Unknown { get; } = new(1, 36, 0);

    /// <summary>True at <c>1.minor</c> or later.</summary>
    public bool IsAtLeast(int minor) => CompareTo(new(1, minor, 0)) >= 0;

    public int CompareTo(EnvoyVersion other) => (Major, Minor, Patch).CompareTo((other.Major, other.Minor, other.Patch));

    /// <summary>Reads the output of <c>envoy --version</c>: <c>envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL</c>; Istio's builds add a suffix to the number.</summary>
    public static bool TryParse(string output, out EnvoyVersion version)
    {
        Match match = Number().Match(output);
        version = default;
        if (!match.Success) { return false; }
        version = new(Part(match, 1), Part(match, 2), Part(match, 3));
        return true;
    }

    public override string ToString() => $"{Major}.{Minor}.{Patch}";

    private static int Part(Match match, int group) => int.Parse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"(?:/|version:?\s+v?)([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", RegexOptions.CultureInvariant)]
    private static partial Regex Number();
}
