using System.Collections.Immutable;
using System.Net;
using Microsoft.Extensions.Logging;

namespace VmSidecar.Dns;

/// <summary>
/// Follows resolv.conf: DHCP, VPNs and systemd-resolved rewrite or replace it at any time. The file is read every few seconds (it is small, often a
/// link into another folder, and often replaced by rename, which defeats watching). Owned by <see cref="DnsServer"/>; one loop.
/// </summary>
internal sealed class ResolvConfFollower(string path, DnsState state, Forwarder forwarder, TimeProvider time, ILogger log)
{
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(3);

    private ResolvConf? _current;
    private ImmutableArray<IPEndPoint> _fallback = [];
    private bool _unreadable;
    private bool _wasEmpty;

    /// <summary>Our own listening addresses: never an upstream.</summary>
    public ImmutableArray<IPEndPoint> Own { get; set; } = [];

    /// <summary>Called when the servers are others than before.</summary>
    public Action Changed { get; init; } = () => { };

    /// <summary>Reads now; without the file the servers known so far stay, and so they do when it names none for the first time: some writers empty it first.</summary>
    public void Read()
    {
        if (TryRead() is not { } read) { return; }
        bool isEmpty = read.Servers.IsEmpty, isNews = isEmpty && !_wasEmpty;
        _wasEmpty = isEmpty;
        if (isNews && _current is { Servers.IsEmpty: false }) { return; } // until the next read says so too
        ImmutableArray<IPEndPoint> servers = [.. read.Servers.Where(s => !Own.Contains(s))], fallback = Fallback(servers);
        if (read.Equals(_current) && fallback.SequenceEqual(_fallback)) { return; } // a change of link moves only the servers behind the stub
        (_current, _fallback) = (read, fallback);
        foreach (IPEndPoint own in read.Servers.Where(Own.Contains)) { DnsLog.OwnAddress(log, own, path); }
        forwarder.UseServers(servers, fallback);
        Changed();
        state.UseSearch(read.SearchNames);
        DnsLog.Following(log, string.Join(", ", servers), string.Join(" ", read.Search));
        if (servers.IsEmpty) { DnsLog.NoServers(log, path); }
    }

    /// <summary>Ends by the token only.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Interval, time, stop);
                Read();
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    private ResolvConf? TryRead()
    {
        try
        {
            string text = File.ReadAllText(path);
            _unreadable = false;
            return ResolvConf.Parse(text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (!_unreadable) { DnsLog.NoResolvConf(log, path, e.Message); }
            _unreadable = true;
            return null;
        }
    }

    /// <summary>
    /// Behind systemd-resolved's stub: the servers it uses itself, asked only after the stub has failed. First choice stays the stub, which alone knows
    /// which domain goes to which link.
    /// </summary>
    private ImmutableArray<IPEndPoint> Fallback(ImmutableArray<IPEndPoint> servers)
    {
        bool stubOnly = servers.Length > 0 && servers.All(s => s.Address.Equals(Stub) || s.Address.Equals(StubProxy));
        string real = Path.Combine(Path.GetDirectoryName(path) ?? "/", "../run/systemd/resolve/resolv.conf");
        if (!stubOnly || !File.Exists(real)) { return []; }
        try { return [.. ResolvConf.Parse(File.ReadAllText(real)).Servers.Where(s => !Own.Contains(s) && !servers.Contains(s))]; }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return _fallback; } // read again in a moment
    }

    private static readonly IPAddress Stub = IPAddress.Parse("127.0.0.53"), StubProxy = IPAddress.Parse("127.0.0.54");
}
