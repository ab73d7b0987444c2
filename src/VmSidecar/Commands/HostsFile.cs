namespace VmSidecar.Commands;

/// <summary>Entries of /etc/hosts. Pure: text in, text out.</summary>
internal static class HostsFile
{
    private static readonly char[] s_blank = [' ', '\t'];

    /// <summary>
    /// The text with every mapping of <paramref name="wanted"/> in it, once. A name that the text maps to another address of the same kind loses that mapping, the
    /// line going only when no other name is left on it. Comments, order and everything else stay as they are; unchanged text comes back as the same string.
    /// </summary>
    public static string With(string text, string wanted)
    {
        foreach ((string address, string name) in Mappings(wanted)) { text = Map(text, address, name); }
        return text;
    }

    /// <summary>Every address and name of a hosts text.</summary>
    public static IEnumerable<(string Address, string Name)> Mappings(string text) =>
        from line in text.Split('\n')
        let words = Words(line)
        where words.Length > 1
        from name in words[1..]
        select (words[0], name);

    private static string Map(string text, string address, string name)
    {
        (string Address, string Name)[] now = [.. Mappings(text).Where(m => Same(m.Name, name) && IsV6(m.Address) == IsV6(address))];
        if (now is [var only] && only.Address == address) { return text; }
        IEnumerable<string> kept = text.Split('\n').Select(line => Without(line, name, IsV6(address))).OfType<string>();
        string rest = string.Join('\n', kept);
        return $"{(rest.Length == 0 || rest.EndsWith('\n') ? rest : rest + "\n")}{address} {name}\n";
    }

    /// <summary>The line without the name; null when nothing is left to say.</summary>
    private static string? Without(string line, string name, bool v6)
    {
        string[] words = Words(line);
        if (words.Length < 2 || IsV6(words[0]) != v6 || !words[1..].Any(w => Same(w, name))) { return line; }
        string[] left = [.. words[1..].Where(w => !Same(w, name))];
        int comment = line.IndexOf('#', StringComparison.Ordinal);
        return left.Length == 0 ? null : $"{words[0]} {string.Join(' ', left)}{(comment < 0 ? "" : " " + line[comment..])}";
    }

    private static string[] Words(string line) => line.Split('#')[0].TrimEnd('\r').Split(s_blank, StringSplitOptions.RemoveEmptyEntries);

    private static bool Same(string a, string b) => a.Equals(b, StringComparison.OrdinalIgnoreCase);

    private static bool IsV6(string address) => address.Contains(':', StringComparison.Ordinal);
}
