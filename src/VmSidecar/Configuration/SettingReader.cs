using System.Globalization;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>
/// Reads typed values by name, remembers each with its origin for <c>vmsidecar check</c>, and collects every mistake. One per load; owned by
/// ConfigLoad.
/// </summary>
internal sealed class SettingReader(EffectiveEnvironment environment, EffectiveProxyConfig proxy, CommandLineFlags flags, ICollection<ConfigError> errors)
{
    /// <summary>What every timer can do, and nobody outwaits.</summary>
    public static readonly TimeSpan LongestWait = TimeSpan.FromHours(480);

    private readonly Dictionary<string, EffectiveSetting> _effective = [];

    public EffectiveEnvironment Environment => environment;
    public EffectiveProxyConfig Proxy => proxy;
    public CommandLineFlags Flags => flags;
    public ICollection<ConfigError> Errors => errors;

    /// <summary>Every setting read so far, by name.</summary>
    public IReadOnlyCollection<EffectiveSetting> Effective => _effective.Values;

    /// <summary>Text of a variable; set-but-empty is empty, not the default.</summary>
    public string Text(string name, string fallback) => Read(name, environment.TryGet(name, out Setting s), s, fallback, value => value);

    /// <summary>Like <see cref="Text"/> where empty counts as unset.</summary>
    public string NonEmptyText(string name, string fallback) =>
        Read(name, environment.TryGet(name, out Setting s) && s.Value.Length > 0, s, fallback, value => value);

    /// <summary>Boolean as Go reads it; <c>yes</c>, <c>on</c> and the like are understood with a warning.</summary>
    public bool Bool(string name, bool fallback)
    {
        bool given = environment.TryGet(name, out Setting setting);
        return Read(name, given && !Empty(name, setting), setting, fallback, _ => GoBool(name, setting, fallback), Lower);
    }

    public int Port(string name, int fallback, bool zeroAllowed = false)
    {
        bool given = environment.TryGet(name, out Setting setting);
        return Read(name, given && !Empty(name, setting), setting, fallback, _ => PortOf(name, setting, fallback, zeroAllowed), Number);
    }

    public int Integer(string name, int fallback, int least = int.MinValue)
    {
        bool given = environment.TryGet(name, out Setting setting);
        return Read(name, given && !Empty(name, setting), setting, fallback, text =>
            int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int number) && number >= least
                ? number
                : Mistake(name, setting, "is not a whole number" + (least > int.MinValue ? $" of at least {least}" : ""), "Write digits only", fallback), Number);
    }

    public double Ratio(string name, double fallback)
    {
        bool given = environment.TryGet(name, out Setting setting);
        return Read(name, given && !Empty(name, setting), setting, fallback, text =>
            double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && number is >= 0 and <= 1
                ? number
                : Mistake(name, setting, "is not a share between 0 and 1", "Write a number such as 0.5", fallback), d => d.ToString(CultureInfo.InvariantCulture));
    }

    public TimeSpan Duration(string name, TimeSpan fallback)
    {
        bool given = environment.TryGet(name, out Setting setting);
        return Read(name, given && !Empty(name, setting), setting, fallback, text =>
            GoValue.TryDuration(text, out TimeSpan time) && time >= TimeSpan.Zero
                ? time
                : Mistake(name, setting, "is not a duration", "Use forms such as 300ms, 45s or 1h30m", fallback), GoValue.ToProtoDuration);
    }

    /// <summary>A duration somebody waits for: the nearest one that can be waited for, with a warning where that is another. At most <see cref="LongestWait"/>.</summary>
    /// <param name="name">The variable.</param>
    /// <param name="fallback">Where it is not set.</param>
    /// <param name="least">The shortest one that can be used.</param>
    public TimeSpan Wait(string name, TimeSpan fallback, TimeSpan least = default)
    {
        TimeSpan time = Duration(name, fallback);
        return environment.TryGet(name, out Setting setting) ? Within(name, setting.Origin, time, least) : time;
    }

    /// <summary>A field of the merged proxy configuration.</summary>
    public T Field<T>(string name, T fallback, Func<Setting, JsonNode, T> parse)
    {
        SettingOrigin origin = proxy.OriginOf(name);
        T value = proxy.Value[name] is { } node ? parse(new Setting(node.ToString(), origin), node) : fallback;
        Note(name, value is TimeSpan time ? GoValue.ToProtoDuration(time) : value?.ToString() ?? "", origin);
        return value;
    }

    public string FieldText(string name) => Field(name, "", (setting, _) => setting.Value);

    public TimeSpan FieldDuration(string name, TimeSpan fallback) =>
        Field(name, fallback, (setting, _) => GoValue.TryDuration(setting.Value, out TimeSpan time) && time >= TimeSpan.Zero
            ? time : Mistake(name, setting, "is not a duration", "Use seconds such as 45s", fallback));

    /// <summary>As <see cref="Wait"/>, a field of the merged proxy configuration.</summary>
    public TimeSpan FieldWait(string name, TimeSpan fallback) => Within(name, proxy.OriginOf(name), FieldDuration(name, fallback), TimeSpan.Zero);

    public int FieldPort(string name, int fallback, bool zeroAllowed = false) =>
        Field(name, fallback, (setting, _) => PortOf(name, setting, fallback, zeroAllowed));

    /// <summary>A flag of the command line, or the fallback.</summary>
    public string Flag(string name, string fallback)
    {
        bool given = flags.Values.TryGetValue(name, out Setting setting);
        return Read("--" + name, given, setting, fallback, value => value);
    }

    /// <summary><c>host:port</c> with a usable port; reports and returns false otherwise.</summary>
    public bool TryHostPort(string name, Setting setting)
    {
        if (HostPort.TryParse(setting.Value, out _)) { return true; }
        Mistake(name, setting, "is not host:port", "Write a DNS name or an IP address and a port, such as istiod.istio-system.svc:15012", 0);
        return false;
    }

    /// <summary>Adds a value that no single setting gives.</summary>
    public void Note(string name, string value, SettingOrigin origin) =>
        _effective[name] = new(name, SecretNames.IsSecret(name) && value.Length > 0 ? "(hidden)" : value, origin.ToString());

    /// <summary>Reports <paramref name="setting"/> and goes on with <paramref name="fallback"/>.</summary>
    public T Mistake<T>(string name, Setting setting, string problem, string fix, T fallback)
    {
        string shown = SecretNames.IsSecret(name) ? "the value" : $"'{setting.Value}'";
        errors.Add(new(setting.Origin.Source, setting.Origin.Line, name, $"{shown} {problem}", fix));
        return fallback;
    }

    public void Warn(string name, SettingOrigin origin, string problem, string fix) => errors.Add(new(origin.Source, origin.Line, name, problem, fix, IsWarning: true));

    private T Read<T>(string name, bool given, Setting setting, T fallback, Func<string, T> parse, Func<T, string>? show = null)
    {
        T value = given ? parse(setting.Value) : fallback;
        Note(name, show is null ? value?.ToString() ?? "" : show(value), given ? setting.Origin : SettingOrigin.Default);
        return value;
    }

    /// <summary>Set but empty, for a type that has no empty value: the default applies, with a warning, as in the classic agent.</summary>
    private bool Empty(string name, Setting setting)
    {
        if (setting.Value.Length > 0) { return false; }
        Warn(name, setting.Origin, "is empty; the default applies", "Write a value, or remove the line");
        return true;
    }

    private bool GoBool(string name, Setting setting, bool fallback)
    {
        if (GoValue.TryBool(setting.Value, out bool value)) { return value; }
        if (!GoValue.TryLenientBool(setting.Value, out value)) { return Mistake(name, setting, "is not a boolean", "Use true or false", fallback); }
        if (name.StartsWith("VMSIDECAR_", StringComparison.Ordinal)) { return value; } // nobody else reads it
        Warn(name, setting.Origin, $"'{setting.Value}' is taken as {Lower(value)}; pilot-agent does not understand it", "Use true or false");
        return value;
    }

    private int PortOf(string name, Setting setting, int fallback, bool zeroAllowed) =>
        ushort.TryParse(setting.Value, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) && (port != 0 || zeroAllowed)
            ? port
            : Mistake(name, setting, "is not a port", $"Use a whole number from {(zeroAllowed ? 0 : 1)} to 65535", fallback);

    private TimeSpan Within(string name, SettingOrigin origin, TimeSpan time, TimeSpan least)
    {
        TimeSpan used = time < least ? least : time > LongestWait ? LongestWait : time;
        if (used == time) { return time; }
        Warn(name, origin, $"is {(time < least ? "shorter" : "longer")} than {GoValue.ToProtoDuration(used)}, which is used instead", $"Write a duration from {GoValue.ToProtoDuration(least)} to {GoValue.ToProtoDuration(LongestWait)}");
        return used;
    }

    private static string Lower(bool value) => value ? "true" : "false";

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
