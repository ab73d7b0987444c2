using System.Collections.Immutable;
using System.Net;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>What resolv.conf says: upstream servers in order and the search list. Parsing never fails; what is not understood is left out (reference 04 §4.1).</summary>
internal sealed record ResolvConf(ImmutableArray<IPEndPoint> Servers, ImmutableArray<string> Search)
{
    private const int DnsPort = 53;

    public static readonly ResolvConf Empty = new([], []);

    /// <summary>Search domains as lower-case wire names; the root (<c>search .</c>) and what is no name left out.</summary>
    public byte[][] SearchNames => [.. Search.Select(WireName.Encode).OfType<byte[]>().Where(n => n.Length > 1).Distinct(WireNameComparer.Instance)];

    public static ResolvConf Parse(string text)
    {
        var servers = ImmutableArray.CreateBuilder<IPEndPoint>();
        ImmutableArray<string> search = [];
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0) { continue; }
            switch (words[0])
            {
                case "nameserver" when words.Length > 1 && IPAddress.TryParse(words[1], out IPAddress? address):
                    var server = new IPEndPoint(address, DnsPort);
                    if (!servers.Contains(server)) { servers.Add(server); }
                    break;
                case "domain" when words.Length > 1:
                    search = [words[1]];
                    break;
                case "search":
                    search = [.. words[1..]];
                    break;
                default:
                    break;
            }
        }
        return new(servers.ToImmutable(), search);
    }

    public bool Equals(ResolvConf? other) => other is not null && Servers.SequenceEqual(other.Servers) && Search.SequenceEqual(other.Search);

    public override int GetHashCode() => HashCode.Combine(Servers.Length, Search.Length);
}
