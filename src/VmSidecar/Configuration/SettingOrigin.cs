namespace VmSidecar.Configuration;

/// <summary>Where a setting's value comes from: <c>file:line</c>, <c>environment</c>, <c>command line</c> or <c>default</c>.</summary>
internal readonly record struct SettingOrigin(string Source, int Line = 0)
{
    public static SettingOrigin Environment { get; } = new("environment");
    public static SettingOrigin CommandLine { get; } = new("command line");
    public static SettingOrigin Default { get; } = new("default");

    public override string ToString() => Line > 0 ? $"{Source}:{Line}" : Source;
}

/// <summary>A value as the operator gave it, and where.</summary>
internal readonly record struct Setting(string Value, SettingOrigin Origin);

/// <summary>One line of <c>vmsidecar check</c>: a setting, the value that applies (secrets already hidden), and its origin.</summary>
internal sealed record EffectiveSetting(string Name, string Value, string Origin);
