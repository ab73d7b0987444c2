using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="ProbeOptions"/> from <c>readinessProbe</c> of the proxy configuration.</summary>
internal static class ProbeSettings
{
    private const string Field = "readinessProbe";
    private const int Longest = 30 * 24 * 60 * 60; // seconds; beyond any use, and within what timers hold
    private const int LongestName = 255;           // of a host, RFC 1035 §2.3.4
    private static readonly string[] s_actions = ["httpGet", "tcpSocket", "exec", "grpc"];

    /// <summary>Null: no probe, so no health is reported.</summary>
    public static ProbeOptions? Read(SettingReader settings, NodeIdentity identity)
    {
        if (settings.Proxy.Value[Field] is not JsonObject probe) { settings.Note(Field, "", SettingOrigin.Default); return null; }
        settings.Note(Field, probe.ToJsonString(), settings.Proxy.OriginOf(Field));
        string host = settings.Bool("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", false) ? "localhost" : identity.Addresses[0].ToString();
        var options = new ProbeOptions
        {
            InitialDelay = Seconds(settings, probe, "initialDelaySeconds", 0),
            Timeout = Seconds(settings, probe, "timeoutSeconds", 1),
            Period = Seconds(settings, probe, "periodSeconds", 10),
            SuccessThreshold = Count(settings, probe, "successThreshold"),
            FailureThreshold = Count(settings, probe, "failureThreshold"),
            DefaultHost = host,
        };
        return Action(settings, probe, options);
    }

    private static ProbeOptions? Action(SettingReader settings, JsonObject probe, ProbeOptions options)
    {
        string[] given = [.. s_actions.Where(name => probe[name] is JsonObject)];
        if (given.Length != 1)
        {
            SettingOrigin origin = settings.Proxy.OriginOf(Field);
            settings.Errors.Add(new(origin.Source, origin.Line, Field, given.Length == 0 ? "says how often but not what to probe" : $"has {string.Join(" and ", given)}",
                "Give exactly one of httpGet, tcpSocket, exec and grpc"));
            return null;
        }
        var action = (JsonObject)probe[given[0]]!;
        return given[0] switch
        {
            "httpGet" => options with { Http = Http(settings, action) },
            "tcpSocket" => options with { Tcp = new(Port(settings, action, "tcpSocket"), Host(settings, action, "tcpSocket")) },
            "grpc" => options with { Grpc = new(Port(settings, action, "grpc"), Text(action, "service") ?? "") },
            _ => options with { Exec = Command(settings, action) },
        };
    }

    private static HttpProbe Http(SettingReader settings, JsonObject action)
    {
        string scheme = (Text(action, "scheme") ?? "HTTP").ToLowerInvariant();
        if (scheme is not ("http" or "https")) { Report(settings, "httpGet.scheme", $"'{scheme}' is not a scheme", "Use HTTP or HTTPS"); }
        ImmutableArray<KeyValuePair<string, string>> headers = action["httpHeaders"] is JsonArray list
            ? [.. list.OfType<JsonObject>().Select(h => KeyValuePair.Create(Text(h, "name") ?? "", Text(h, "value") ?? "")).Where(h => h.Key.Length > 0)]
            : [];
        foreach ((string name, string value) in headers.Where(h => !IsSendable(h.Key, h.Value)))
        {
            Report(settings, "httpGet.httpHeaders", $"'{name}' cannot be sent as a header with the value given", "Use letters, digits and hyphens in the name, and one line of text as the value");
        }
        return new(Text(action, "path") ?? "/", Port(settings, action, "httpGet"), Host(settings, action, "httpGet"), scheme, headers);
    }

    /// <summary>A token and one line (RFC 9110 §5.1, §5.5); Host is an authority besides.</summary>
    private static bool IsSendable(string name, string value) =>
        name.All(c => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~".Contains(c, StringComparison.Ordinal))
        && !value.AsSpan().ContainsAny('\r', '\n', '\0') && (name != "Host" || IsAuthority(value));

    private static bool IsAuthority(string text) => Uri.TryCreate($"http://{text}/", UriKind.Absolute, out Uri? whole) && whole.PathAndQuery == "/" && whole.Fragment.Length == 0 && whole.UserInfo.Length == 0;

    private static string? Host(SettingReader settings, JsonObject action, string name)
    {
        string? host = Text(action, "host");
        bool isAddress = host is not null && host.Contains(':', StringComparison.Ordinal) && !host.StartsWith('['), isHost = host is null || (host.Length <= LongestName && IsAuthority(isAddress ? $"[{host}]" : host));
        if (!isHost) { Report(settings, $"{name}.host", $"'{host}' is neither a host name nor an address", "Write a name or an IP address, or leave it out"); }
        return host;
    }

    private static ImmutableArray<string> Command(SettingReader settings, JsonObject action)
    {
        ImmutableArray<string> command = action["command"] is JsonArray list ? [.. list.Select(word => word?.ToString() ?? "")] : [];
        if (command.IsEmpty || command[0].Length == 0) { Report(settings, "exec.command", "is empty", "Give the program and its arguments"); }
        return command;
    }

    private static int Port(SettingReader settings, JsonObject action, string name)
    {
        int port = action["port"]?.GetValue<int>() ?? 0;
        if (port is < 1 or > 65535) { Report(settings, $"{name}.port", $"'{port}' is not a port", "Use a whole number from 1 to 65535"); }
        return port;
    }

    private static TimeSpan Seconds(SettingReader settings, JsonObject probe, string name, int fallback)
    {
        int seconds = probe[name]?.GetValue<int>() ?? 0;
        if (seconds < 0) { Report(settings, name, $"'{seconds}' is negative", "Use a whole number of seconds"); }
        if (seconds > Longest) { Report(settings, name, $"'{seconds}' seconds are more than 30 days", "Use a smaller number of seconds"); }
        return TimeSpan.FromSeconds(seconds > 0 ? Math.Min(seconds, Longest) : fallback);
    }

    private static int Count(SettingReader settings, JsonObject probe, string name)
    {
        int count = probe[name]?.GetValue<int>() ?? 0;
        if (count < 0) { Report(settings, name, $"'{count}' is negative", "Use a whole number of at least 1"); }
        return count > 0 ? count : 1;
    }

    private static string? Text(JsonObject from, string name) => from[name]?.ToString() is { Length: > 0 } text ? text : null;

    private static void Report(SettingReader settings, string path, string problem, string fix)
    {
        string key = $"{Field}.{path}";
        SettingOrigin origin = settings.Proxy.OriginOf(key);
        settings.Errors.Add(new(origin.Source, origin.Line, key, problem, fix));
    }
}
