using VmSidecar.EnvoyApi.Matching;
using VmSidecar.EnvoyApi.Routes;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Envoy's choice of a route: the virtual host of the best matching domain, then its first route that matches. Pure.</summary>
internal static class RouteTable
{
    /// <summary>The route for a request, null for 404.</summary>
    public static Route? Find(RouteConfiguration routes, string authority, HttpHead request, string path)
    {
        string host = routes.IgnorePortInHostMatching ? WithoutPort(authority) : authority;
        return HostFor(routes, host)?.Routes.FirstOrDefault(r => Matches(r.Match, request, path));
    }

    /// <summary>The cluster of a route; by weight where there are several.</summary>
    public static string? ClusterOf(RouteAction action, HttpHead request)
    {
        if (action.ClusterSpecifierCase == RouteAction.ClusterSpecifierOneofCase.ClusterHeader) { return request[action.ClusterHeader]; }
        if (action.ClusterSpecifierCase != RouteAction.ClusterSpecifierOneofCase.WeightedClusters) { return action.Cluster; }
        long total = action.WeightedClusters.Clusters.Sum(c => (long)(c.Weight ?? 0));
        long point = Random.Shared.NextInt64(Math.Max(1, total));
        return action.WeightedClusters.Clusters.FirstOrDefault(c => (point -= c.Weight ?? 0) < 0)?.Name;
    }

    // Exact, then the longest suffix (*.com), then the longest prefix (foo.*), then *.
    private static VirtualHost? HostFor(RouteConfiguration routes, string host)
    {
        (VirtualHost Host, int Rank)? best = null;
        foreach (VirtualHost candidate in routes.VirtualHosts)
        {
            foreach (string domain in candidate.Domains)
            {
                int rank = Rank(domain, host);
                if (rank > 0 && (best is null || rank > best.Value.Rank)) { best = (candidate, rank); }
            }
        }
        return best?.Host;
    }

    private static int Rank(string domain, string host)
    {
        const int Exact = 30_000, Suffix = 20_000, Prefix = 10_000;
        if (domain == "*") { return 1; }
        if (domain.Equals(host, StringComparison.OrdinalIgnoreCase)) { return Exact; }
        if (domain.StartsWith('*') && host.Length >= domain.Length && host.EndsWith(domain[1..], StringComparison.OrdinalIgnoreCase)) { return Suffix + domain.Length; }
        return domain.EndsWith('*') && host.Length >= domain.Length && host.StartsWith(domain[..^1], StringComparison.OrdinalIgnoreCase) ? Prefix + domain.Length : 0;
    }

    private static bool Matches(RouteMatch match, HttpHead request, string path)
    {
        string bare = path.Split('?')[0];
        bool matches = match.PathSpecifierCase switch
        {
            RouteMatch.PathSpecifierOneofCase.Prefix => path.StartsWith(match.Prefix, StringComparison.Ordinal),
            RouteMatch.PathSpecifierOneofCase.Path => bare == match.Path,
            RouteMatch.PathSpecifierOneofCase.PathSeparatedPrefix => bare == match.PathSeparatedPrefix || bare.StartsWith(match.PathSeparatedPrefix + "/", StringComparison.Ordinal),
            RouteMatch.PathSpecifierOneofCase.SafeRegex => System.Text.RegularExpressions.Regex.IsMatch(bare, $"^(?:{match.SafeRegex.Regex})$"),
            _ => false,
        };
        return matches && match.Headers.All(h => Matches(h, request));
    }

    private static bool Matches(HeaderMatcher matcher, HttpHead request)
    {
        string? value = matcher.Name switch { ":method" => request.Words[0], ":authority" => request["host"], ":path" => request.Words[1], _ => request[matcher.Name] };
        bool matches = matcher.HeaderMatchSpecifierCase == HeaderMatcher.HeaderMatchSpecifierOneofCase.StringMatch
            ? value is not null && Matches(matcher.StringMatch, value)
            : value is not null;
        return matches != matcher.InvertMatch;
    }

    private static bool Matches(StringMatcher matcher, string value) => matcher.MatchPatternCase switch
    {
        StringMatcher.MatchPatternOneofCase.Exact => value == matcher.Exact,
        StringMatcher.MatchPatternOneofCase.Prefix => value.StartsWith(matcher.Prefix, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.Suffix => value.EndsWith(matcher.Suffix, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.Contains => value.Contains(matcher.Contains, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.SafeRegex => System.Text.RegularExpressions.Regex.IsMatch(value, $"^(?:{matcher.SafeRegex.Regex})$"),
        _ => false,
    };

    private static string WithoutPort(string authority)
    {
        int colon = authority.LastIndexOf(':');
        return colon > 0 && authority.AsSpan(colon + 1).IndexOfAnyExceptInRange('0', '9') < 0 && !authority.EndsWith(']') ? authority[..colon] : authority;
    }
}
