using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>One field of Istio's ProxyConfig or of a message in it: its JSON name and how its value reads. See <see cref="ProxyConfigSchema"/>.</summary>
/// <param name="Name">JSON name (camelCase).</param>
/// <param name="Kind">Form of the value.</param>
internal sealed record ProxyField(string Name, FieldKind Kind)
{
    /// <summary>Values of an enum; the index is the number.</summary>
    public ImmutableArray<string> Choices { get; init; } = [];

    /// <summary>Fields of a message, or of each message of a list or map.</summary>
    public ImmutableArray<ProxyField> Members { get; init; } = [];

    /// <summary>True for wrapper types: a zero value says something and is kept.</summary>
    public bool IsWrapper { get; init; }

    /// <summary>snake_case form of <see cref="Name"/>, accepted as well.</summary>
    public string SnakeName { get; } = string.Concat(Name.Select(c => char.IsAsciiLetterUpper(c) ? $"_{char.ToLowerInvariant(c)}" : $"{c}"));
}

/// <summary>Forms of values in ProxyConfig.</summary>
internal enum FieldKind
{
    Text,
    Integer,
    Real,
    Boolean,
    Duration,
    Choice,
    Message,
    MessageList,
    TextList,
    TextMap,

    /// <summary>Kept as written; nothing of ours reads it.</summary>
    Any,
}
