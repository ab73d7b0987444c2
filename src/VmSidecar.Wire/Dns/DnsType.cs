namespace VmSidecar.Wire.Dns;

/// <summary>Record types the agent knows by name (IANA DNS parameters).</summary>
internal static class DnsType
{
    public const ushort A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33;
    public const ushort OPT = 41, SVCB = 64, HTTPS = 65, IXFR = 251, AXFR = 252, ANY = 255;

    /// <summary>The number of a type given by name or as <c>TYPE65</c> (RFC 3597 §5); false for anything else.</summary>
    public static bool TryParse(string text, out ushort type)
    {
        type = text.ToUpperInvariant() switch
        {
            "A" => A, "NS" => NS, "CNAME" => CNAME, "SOA" => SOA, "PTR" => PTR, "MX" => MX, "TXT" => TXT,
            "AAAA" => AAAA, "SRV" => SRV, "SVCB" => SVCB, "HTTPS" => HTTPS, "ANY" => ANY, _ => 0,
        };
        return type != 0 || (text.StartsWith("TYPE", StringComparison.OrdinalIgnoreCase)
            && ushort.TryParse(text.AsSpan(4), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out type));
    }

    /// <summary>The name of a type, or <c>TYPE123</c>.</summary>
    public static string ToText(ushort type) => type switch
    {
        A => "A", NS => "NS", CNAME => "CNAME", SOA => "SOA", PTR => "PTR", MX => "MX", TXT => "TXT",
        AAAA => "AAAA", SRV => "SRV", OPT => "OPT", SVCB => "SVCB", HTTPS => "HTTPS", ANY => "ANY", _ => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"TYPE{type}"),
    };
}

/// <summary>Record classes.</summary>
internal static class DnsClass
{
    public const ushort IN = 1;
}

/// <summary>Response codes (RFC 1035 §4.1.1, RFC 6891 §6.1.3).</summary>
internal static class DnsRcode
{
    public const int NoError = 0, FormErr = 1, ServFail = 2, NxDomain = 3, NotImp = 4, Refused = 5;

    public static string ToText(int rcode) => rcode switch
    {
        NoError => "NOERROR", FormErr => "FORMERR", ServFail => "SERVFAIL", NxDomain => "NXDOMAIN", NotImp => "NOTIMP", Refused => "REFUSED", _ => "OTHER",
    };
}
