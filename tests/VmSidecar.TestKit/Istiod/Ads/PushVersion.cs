using System.Globalization;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>The version all types share until the next push, <c>RFC3339 seconds/counter</c>, and the nonces made from it. Thread-safe.</summary>
internal sealed class PushVersion(IstiodOptions options)
{
    private const string OldPrefix = "Z3xaUxoAsb8="; // 1.10: an opaque hash of the configuration

    private volatile string _current = Text(options.Time, 1);
    private int _counter = 1;

    public string Current => _current;

    public void Next() => _current = Text(options.Time, Interlocked.Increment(ref _counter));

    public string NewNonce() => (options.Version == IstiodVersion.V1_10 ? OldPrefix : _current) + Guid.NewGuid().ToString("D");

    private static string Text(TimeProvider time, int counter) =>
        string.Create(CultureInfo.InvariantCulture, $"{time.GetUtcNow().UtcDateTime:yyyy-MM-dd'T'HH:mm:ss'Z'}/{counter}");
}
