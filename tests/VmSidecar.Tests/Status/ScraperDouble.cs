using System.Text;

using VmSidecar.Status;

namespace VmSidecar.Tests.Status;

/// <summary>Pages by port; a port without a page fails. Remembers what was asked.</summary>
internal sealed class ScraperDouble : IScraper
{
    public const string Text = "text/plain; version=0.0.4; charset=utf-8";
    public const string OpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    public Dictionary<int, (string Body, string Format)> Pages { get; } = [];

    public Dictionary<int, (string Path, ScrapeRequest Request)> Asked { get; } = [];

    /// <summary>Ports that take the question and never answer.</summary>
    public HashSet<int> Silent { get; } = [];

    public async Task<(ScrapePart? Part, string? Problem)> GetAsync(int port, string pathAndQuery, ScrapeRequest request, CancellationToken cancel)
    {
        lock (Asked) { Asked[port] = (pathAndQuery, request); }
        if (Silent.Contains(port))
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return (null, $"{port} is silent");
        }
        return Pages.TryGetValue(port, out (string Body, string Format) page)
            ? (new ScrapePart(Encoding.UTF8.GetBytes(page.Body), page.Format), null)
            : (null, $"nothing on {port}");
    }
}
