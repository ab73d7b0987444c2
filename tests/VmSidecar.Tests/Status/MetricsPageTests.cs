using System.Text;

using Microsoft.AspNetCore.Http;

using VmSidecar.Metrics;
using VmSidecar.Status;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Status;

public sealed class MetricsPageTests
{
    private const string ScrapeAccept =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        + "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

    private readonly Lines _log = new();
    private readonly MetricRegistry _metrics = new();
    private readonly ScraperDouble _scraper = new();

    [Fact]
    public async Task The_parts_come_in_order_agent_Envoy_application()
    {
        _scraper.Pages[15090] = ("envoy_x 1\n", ScraperDouble.Text);
        _scraper.Pages[9100] = ("app_x 1\n# EOF\n", ScraperDouble.OpenMetrics);

        (string body, string type) = await ScrapeAsync([new(9100, "/m")], "?usedonly");

        Assert.Matches("(?s)istio_agent_scrapes_total 1\n.*envoy_x 1\napp_x 1\n# EOF\n$", body);
        Assert.Equal(ScraperDouble.OpenMetrics, type);
        Assert.Equal("/stats/prometheus?usedonly", _scraper.Asked[15090].Path);
        Assert.Equal("/m", _scraper.Asked[9100].Path);
    }

    [Theory] // T text, O OpenMetrics, F failed: the table of the specification
    [InlineData("TT", false, 0, 0)]
    [InlineData("OO", true, 1, 0)]
    [InlineData("TF", false, 0, 1)]
    [InlineData("FO", true, 1, 1)]
    [InlineData("OT", false, 0, 0)]
    [InlineData("FF", false, 0, 2)]
    public async Task Several_applications_are_joined(string kinds, bool openMetrics, int ends, int failures)
    {
        _scraper.Pages[15090] = ("envoy_x 1\n", ScraperDouble.Text);
        List<ScrapeTarget> targets = [];
        for (int i = 0; i < kinds.Length; i++)
        {
            targets.Add(new ScrapeTarget(9000 + i, "/metrics"));
            if (kinds[i] == 'T') { _scraper.Pages[9000 + i] = ($"app{i} 1", ScraperDouble.Text); }
            if (kinds[i] == 'O') { _scraper.Pages[9000 + i] = ($"app{i} 1\n# EOF\r\n\n", ScraperDouble.OpenMetrics); }
        }

        (string body, string type) = await ScrapeAsync(targets);

        Assert.Equal(openMetrics ? ScraperDouble.OpenMetrics : ScraperDouble.Text, type);
        Assert.Equal(ends, body.Split("# EOF").Length - 1);
        Assert.True(ends == 0 || body.EndsWith("\n# EOF\n", StringComparison.Ordinal));
        Assert.Contains("envoy_x 1\n", body, StringComparison.Ordinal);
        Assert.Equal(failures, _metrics.Counter("scrape_failures_total", "", "type=\"application\"").Value);
        Assert.All(kinds.Select((k, i) => (k, i)).Where(p => p.k != 'F'), p => Assert.Contains($"app{p.i} 1\n", body, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_source_that_fails_is_counted_each_time_and_told_once()
    {
        await ScrapeAsync([]);
        (string body, _) = await ScrapeAsync([]);
        Assert.Contains("istio_agent_scrape_failures_total{type=\"envoy\"} 2\n", body, StringComparison.Ordinal);
        Assert.Contains("istio_agent_scrape_failures_total{type=\"agent\"} 0\n", body, StringComparison.Ordinal);
        Assert.Equal(["Error: failed scraping envoy metrics: nothing on 15090"], _log.All);
    }

    /// <summary>The rest arrives before the scraper gives up, whose time the header tells; without one it does not wait for ever either.</summary>
    [Theory]
    [InlineData("10", 9.5)]
    [InlineData("2", 1.8)]
    [InlineData("", 10)]
    [InlineData("soon", 10)]
    [InlineData("-1", 10)]
    public async Task A_source_that_hangs_costs_its_own_part_only(string limit, double seconds)
    {
        _scraper.Pages[15090] = ("envoy_x 1\n", ScraperDouble.Text);
        _scraper.Silent.Add(9100);
        var time = new ManualTimeProvider();
        Task<(string Body, string Type)> scrape = ScrapeAsync([new(9100, "/m")], limit: limit, time: time);
        Assert.Equal(TimeSpan.FromSeconds(seconds), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(seconds));
        Assert.Contains("envoy_x 1\n", (await scrape.WaitAsync(Test.Deadline)).Body, StringComparison.Ordinal);
        Assert.Equal(["Error: failed scraping application metrics: 9100 is silent"], _log.All);
    }

    [Fact]
    public async Task One_application_of_two_that_fails_is_told_once()
    {
        _scraper.Pages[15090] = ("envoy_x 1\n", ScraperDouble.Text);
        _scraper.Pages[9101] = ("app_x 1\n", ScraperDouble.Text);
        await ScrapeAsync([new(9100, "/m"), new(9101, "/m")]);
        for (int i = 0; i < 3; i++) { await ScrapeAsync([]); } // the same page
        Assert.Equal(["Error: failed scraping application metrics: nothing on 9100"], _log.All);
        Assert.Equal(4, _metrics.Counter("scrape_failures_total", "", "type=\"application\"").Value);
    }

    [Fact]
    public async Task Each_source_is_asked_for_what_can_be_joined()
    {
        await ScrapeAsync([new(9100, "/metrics")]);
        Assert.Equal(
            "application/openmetrics-text; escaping=allow-utf-8; q=0.3; version=1.0.0,application/openmetrics-text; q=0.2; version=0.0.1,text/plain; q=0.1; version=0.0.4",
            _scraper.Asked[9100].Request.Accept);
        Assert.Equal("text/plain; q=0.1; version=0.0.4", _scraper.Asked[15090].Request.Accept);
        Assert.Equal("prom/2", _scraper.Asked[9100].Request.UserAgent);
    }

    [Theory]
    [InlineData("", "text/plain;version=0.0.4")]
    [InlineData("/", "text/plain;version=0.0.4")]
    [InlineData("application/vnd.google.protobuf;q=1", "text/plain;version=0.0.4")]
    [InlineData("*/*", "text/plain; q=0.1; version=0.0.4")]
    [InlineData("application/*", "application/openmetrics-text; q=0.1; version=0.0.1")]
    [InlineData("application/openmetrics-text,application/*", "application/openmetrics-text; q=0.1")]
    public void Accept_is_rewritten(string accept, string expected) => Assert.Equal(expected, AcceptHeader.Rewrite(accept, allowOpenMetrics: true));

    [Theory]
    [InlineData(null, "", null)]
    [InlineData("""{"scrape":"true","path":"/metrics","port":"9100"}""", "9100/metrics", null)]
    [InlineData("{}", "80/metrics", null)]
    [InlineData("""{"scrape":"false","port":"9100"}""", "", null)]
    [InlineData("""{"port":"1","targets":[{"port":"9100","path":"/m"},{"port":"9200"}]}""", "9100/m 9200/metrics", null)]
    [InlineData("""{"port":9100}""", "", "scrape, path and port must be strings in quotes")]
    [InlineData("""{"port":"15020"}""", "", "port 15020 is the sidecar's own")]
    [InlineData("""{"port":"15090"}""", "", "port 15090 is the sidecar's own")]
    [InlineData("""{"port":"http"}""", "", "'http' is not a port")]
    [InlineData("""{"port":"70000"}""", "", "'70000' is not a port")]
    [InlineData("""{"targets":["9100"]}""", "", "each of targets must be an object with port and path as strings")]
    [InlineData("nonsense", "", "it is not a JSON object")]
    public void Annotations_name_the_targets(string? json, string expected, string? problem)
    {
        bool usable = ScrapeTargets.TryParse(json, 15020, out IReadOnlyList<ScrapeTarget> targets, out string said);
        Assert.Equal(problem is null, usable);
        Assert.Equal(problem ?? "", said);
        if (usable) { Assert.Equal(expected, string.Join(' ', targets.Select(t => $"{t.Port}{t.Path}"))); }
    }

    private async Task<(string Body, string Type)> ScrapeAsync(IReadOnlyList<ScrapeTarget> targets, string query = "", string limit = "", TimeProvider? time = null)
    {
        var page = new MetricsPage(new MetricsSources(15090, targets), _metrics, _scraper, time ?? TimeProvider.System, _log);
        if (_page is not null && targets.Count == 0) { page = _page; }
        _page = page;
        var http = new DefaultHttpContext();
        http.Request.Headers.Accept = ScrapeAccept;
        http.Request.Headers.UserAgent = "prom/2";
        if (limit.Length > 0) { http.Request.Headers["X-Prometheus-Scrape-Timeout-Seconds"] = limit; }
        http.Request.QueryString = new QueryString(query);
        var body = new MemoryStream();
        http.Response.Body = body;
        await page.ServeAsync(http);
        return (Encoding.UTF8.GetString(body.ToArray()), http.Response.ContentType!);
    }

    private MetricsPage? _page;
}
