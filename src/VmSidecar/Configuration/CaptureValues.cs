using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace VmSidecar.Configuration;

/// <summary>Checks and converts single values of <see cref="CaptureOptionsReader"/>. What passes here may stand in a rule: no value can carry text of its own into it.</summary>
internal sealed partial class CaptureValues(ICollection<ConfigError> errors)
{
    public ushort Port(CaptureOptionsReader.Given given, ushort fallback)
    {
        if (given.Text.Length == 0) { return fallback; }
        if (IsPort(given.Text)) { return ushort.Parse(given.Text, NumberStyles.None, CultureInfo.InvariantCulture); }
        errors.Add(given.Error($"'{given.Text}' is not a port", "Use a whole number from 1 to 65535"));
        return fallback;
    }

    public uint Number(CaptureOptionsReader.Given given, uint fallback)
    {
        if (given.Text.Length == 0) { return fallback; }
        if (TryNumber(given.Text, out uint number) && number is > 0 and < int.MaxValue) { return number; }
        errors.Add(given.Error($"'{given.Text}' is not a positive number", "Use a whole number from 1 to 2147483646"));
        return fallback;
    }

    /// <summary>Ports, or ranges <c>low:high</c>.</summary>
    public ImmutableArray<string> Ports(CaptureOptionsReader.Given given) =>
        Each(given, item => item.Split(':') is [var low] && IsPort(low) ? Plain(low)
            : item.Split(':') is [var from, var to] && IsPort(from) && IsPort(to) && Order(from) <= Order(to) ? $"{Plain(from)}:{Plain(to)}" : null,
            "is not a port or a range of ports", "Use numbers from 1 to 65535, joined by commas, ranges as 8000:8100");

    /// <summary>CIDR ranges; a bare address is a range of one, host bits are masked.</summary>
    public ImmutableArray<IPNetwork> Cidrs(CaptureOptionsReader.Given given)
    {
        var networks = ImmutableArray.CreateBuilder<IPNetwork>();
        foreach (string item in Items(given.Text))
        {
            if (TryCidr(item, out IPNetwork network)) { networks.Add(network); }
            else if (item == "*") { errors.Add(given.Error("'*' stands only alone, and not in an exclusion", "Name the ranges")); }
            else { errors.Add(given.Error($"'{item}' is not an address range", "Use ranges like 10.0.0.0/8, joined by commas")); }
        }
        return networks.ToImmutable();
    }

    public ImmutableArray<string> Interfaces(CaptureOptionsReader.Given given) =>
        Each(given, item => InterfaceName().IsMatch(item) ? item : null, "is not the name of an interface", "Use names like eth1, at most 15 characters, joined by commas");

    public ImmutableArray<uint> Ids(CaptureOptionsReader.Given given) =>
        [.. Each(given, item => TryNumber(item, out _) ? item : null, "is not a numeric id", "Use numbers, joined by commas").Select(i => uint.Parse(i, CultureInfo.InvariantCulture))];

    public IPNetwork Loopback(CaptureOptionsReader.Given given)
    {
        IPNetwork fallback = new(IPAddress.Loopback, 32);
        if (given.Text.Length == 0) { return fallback; }
        if (TryCidr(given.Text, out IPNetwork network) && network.BaseAddress.AddressFamily == AddressFamily.InterNetwork
            && IPAddress.IsLoopback(network.BaseAddress) && network.PrefixLength is >= 8 and <= 32)
        {
            return network;
        }
        errors.Add(given.Error($"'{given.Text}' is not an IPv4 loopback range", "Use a range within 127.0.0.0/8"));
        return fallback;
    }

    /// <summary>The items of a comma list, trimmed, empty ones dropped.</summary>
    public static IEnumerable<string> Items(string list) => list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    public static bool TryNumber(string text, out uint number) => uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    private static bool TryCidr(string text, out IPNetwork network)
    {
        network = default;
        string[] parts = text.Split('/');
        if (parts.Length > 2 || parts[0].Contains('%', StringComparison.Ordinal) || !IPAddress.TryParse(parts[0], out IPAddress? address)) { return false; }
        bool v4 = address.AddressFamily == AddressFamily.InterNetwork;
        if (v4 && parts[0].Count(c => c == '.') != 3) { return false; } // "10" and "10.1" are addresses to the parser, not to an operator
        int bits = v4 ? 32 : 128;
        if (parts.Length == 2 && (!int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out bits) || bits > (v4 ? 32 : 128))) { return false; }
        byte[] bytes = address.GetAddressBytes();
        for (int bit = bits; bit < bytes.Length * 8; bit++) { bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8)); }
        network = new(new IPAddress(bytes), bits);
        return true;
    }

    private ImmutableArray<string> Each(CaptureOptionsReader.Given given, Func<string, string?> accept, string problem, string fix)
    {
        var accepted = ImmutableArray.CreateBuilder<string>();
        foreach (string item in Items(given.Text))
        {
            if (accept(item) is { } value) { accepted.Add(value); }
            else { errors.Add(given.Error($"'{item}' {problem}", fix)); }
        }
        return accepted.ToImmutable();
    }

    private static bool IsPort(string text) => ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) && port != 0;

    private static int Order(string port) => int.Parse(port, CultureInfo.InvariantCulture);

    private static string Plain(string port) => Order(port).ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^[A-Za-z][A-Za-z0-9_.\-]{0,14}$")]
    private static partial Regex InterfaceName();
}
