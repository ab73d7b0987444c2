using System.Globalization;
using System.Text;

using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

using VmSidecar.Metrics;

namespace VmSidecar.Status;

/// <summary>Where the parts of the page come from.</summary>
/// <param name="EnvoyPort">Envoy's own metrics; 0: left out.</param>
/// <param name="Applications">The workload's metrics.</param>
internal sealed record MetricsSources(int EnvoyPort, IReadOnlyList<ScrapeTarget> Applications);

/// <summary>The merged Prometheus page: agent, Envoy, application, in this order (an application's <c># EOF</c> then comes last). A part that fails is counted and left out; the page is always 200.</summary>
internal sealed partial class MetricsPage(MetricsSources sources, MetricRegistry registry, IScraper scraper, TimeProvider time, ILogger log)
{
    private const string Failures = "scrape_failures_total", FailuresHelp = "The total number of failed scrapes.";
    private const string PlainText = "text/plain; version=0.0.4; charset=utf-8";
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(10); // pilot-agent waits without end when the scraper names none
    private readonly Counter _scrapes = registry.Counter("scrapes_total", "The total number of scrapes.");
    private readonly Counter _envoyFailures = registry.Counter(Failures, FailuresHelp, "type=\"envoy\"");
    private readonly Counter _appFailures = registry.Counter(Failures, FailuresHelp, "type=\"application\"");
    private readonly Counter _agentFailures = registry.Counter(Failures, FailuresHelp, "type=\"agent\"");
    private readonly Dictionary<int, string?> _lastProblem = []; // by port

    /// <summary>One scrape: all sources at once, then one answer.</summary>
    public async Task ServeAsync(HttpContext http)
    {
        _scrapes.Add();
        _ = _agentFailures; // present from zero; our own part cannot fail
        string accept = http.Request.Headers.Accept.ToString();
        using var deadline = new CancellationTokenSource(Timeout(http.Request), time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, http.RequestAborted);
        var request = new ScrapeRequest(http.Request.Headers.UserAgent.ToString(), http.Request.Headers[TimeoutHeader].ToString());
        Task<ScrapePart?> envoy = EnvoyAsync(request with { Accept = AcceptHeader.Rewrite(accept, allowOpenMetrics: false) }, http.Request.QueryString.Value ?? "", both.Token);
        request = request with { Accept = AcceptHeader.Rewrite(accept, allowOpenMetrics: true) };
        Task<ScrapePart?>[] applications = [.. sources.Applications.Select(target => ApplicationAsync(target, request, both.Token))];
        var page = new StringBuilder();
        registry.WriteTo(page);
        ScrapePart? envoyPart = await envoy;
        ScrapePart?[] parts = await Task.WhenAll(applications);
        http.Response.StatusCode = 200;
        http.Response.ContentType = ContentType(parts);
        await WriteAsync(http, Encoding.UTF8.GetBytes(page.ToString()), envoyPart, ApplicationBodies(parts));
    }

    private const string TimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds";

    private const double Reserve = 0.5, LargestShare = 0.1; // of the scraper's time, in seconds: what the answer itself takes, so that one hung source costs its own part only

    private static TimeSpan Timeout(HttpRequest request) =>
        double.TryParse(request.Headers[TimeoutHeader].ToString(), NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) && seconds is > 0 and < 3600
            ? TimeSpan.FromSeconds(seconds - Math.Min(Reserve, seconds * LargestShare)) : DefaultTimeout;

    private async Task<ScrapePart?> EnvoyAsync(ScrapeRequest request, string query, CancellationToken cancel)
    {
        if (sources.EnvoyPort == 0) { return null; }
        (ScrapePart? part, string? problem) = await scraper.GetAsync(sources.EnvoyPort, "/stats/prometheus" + query, request, cancel);
        Note("envoy", sources.EnvoyPort, problem, _envoyFailures);
        return part;
    }

    private async Task<ScrapePart?> ApplicationAsync(ScrapeTarget target, ScrapeRequest request, CancellationToken cancel)
    {
        (ScrapePart? part, string? problem) = await scraper.GetAsync(target.Port, target.Path, request, cancel);
        Note("application", target.Port, problem, _appFailures);
        return part;
    }

    /// <summary>Says a failure once, until that source works again or fails otherwise.</summary>
    private void Note(string kind, int port, string? problem, Counter failures)
    {
        if (problem is not null) { failures.Add(); }
        lock (_lastProblem)
        {
            if (_lastProblem.GetValueOrDefault(port) == problem) { return; }
            _lastProblem[port] = problem;
        }
        if (problem is not null) { Failed(log, kind, problem); }
    }

    /// <summary>The application's format, where all answer in the same; text otherwise.</summary>
    private static string ContentType(ScrapePart?[] parts)
    {
        string[] formats = [.. parts.Where(p => p is not null).Select(p => p!.Format).Distinct()];
        return formats.Length == 1 ? formats[0] : PlainText;
    }

    /// <summary>One body passes as it is. Several are joined: each loses its <c># EOF</c>, and one is put at the end where all are OpenMetrics.</summary>
    private static List<ReadOnlyMemory<byte>> ApplicationBodies(ScrapePart?[] parts)
    {
        ScrapePart[] present = [.. parts.Where(p => p is not null).Select(p => p!)];
        if (parts.Length == 1) { return [.. present.Select(p => p.Body)]; }
        List<ReadOnlyMemory<byte>> bodies = [.. present.Select(p => p.WithoutEnd())];
        if (present.Length > 0 && ContentType(parts) != PlainText) { bodies.Add("# EOF\n"u8.ToArray()); }
        return bodies;
    }

    private static async Task WriteAsync(HttpContext http, byte[] agent, ScrapePart? envoy, List<ReadOnlyMemory<byte>> applications)
    {
        await http.Response.Body.WriteAsync(agent, http.RequestAborted);
        if (envoy is not null) { await http.Response.Body.WriteAsync(envoy.Body, http.RequestAborted); }
        foreach (ReadOnlyMemory<byte> body in applications) { await http.Response.Body.WriteAsync(body, http.RequestAborted); }
    }

    [LoggerMessage(1, LogLevel.Error, "failed scraping {Kind} metrics: {Problem}")]
    private static partial void Failed(ILogger log, string kind, string problem);
}
