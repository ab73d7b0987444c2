using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>
/// Reads <c>cluster.env</c> and <c>sidecar.env</c>: the part of bash's grammar that only assigns variables.
/// The classic start script sources these files, so quoting and expansion follow bash; whatever would run a command is a mistake
/// reported with its line instead. Pure; never throws.
/// </summary>
internal sealed class BashEnvFile
{
    private static readonly string[] s_readOnly = ["BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"]; // assigning one aborts bash
    private readonly BashCursor _at;
    private readonly string _path;
    private readonly Dictionary<string, string> _variables;
    private readonly ImmutableArray<EnvAssignment>.Builder _assigned = ImmutableArray.CreateBuilder<EnvAssignment>();
    private readonly ICollection<ConfigError> _errors;

    private BashEnvFile(string path, string text, IReadOnlyDictionary<string, string> environment, ICollection<ConfigError> errors)
    {
        _path = path;
        _at = new BashCursor(text);
        _variables = new Dictionary<string, string>(environment);
        _errors = errors;
    }

    /// <summary>All assignments in order. <paramref name="environment"/> is what <c>$NAME</c> may refer to besides earlier lines.</summary>
    public static ImmutableArray<EnvAssignment> Parse(
        string path, string text, IReadOnlyDictionary<string, string> environment, ICollection<ConfigError> errors)
    {
        ReportText(path, text, errors);
        var file = new BashEnvFile(path, text, environment, errors);
        while (!file._at.IsAtEnd) { file.ReadLine(); }
        return file._assigned.ToImmutable();
    }

    private static void ReportText(string path, string text, ICollection<ConfigError> errors)
    {
        int carriageReturn = text.IndexOf("\r\n", StringComparison.Ordinal);
        if (carriageReturn >= 0 || text.EndsWith('\r'))
        {
            int at = carriageReturn >= 0 ? carriageReturn : text.Length - 1;
            errors.Add(new(path, LineOf(text, at), "file", "lines end with a carriage return (Windows line ends), which would become part of the values",
                $"Run: sed -i 's/\\r$//' {path}"));
        }
        int nul = text.IndexOf('\0');
        if (nul >= 0) { errors.Add(new(path, LineOf(text, nul), "file", "contains a zero byte", "Copy the file again, as text")); }
    }

    private static int LineOf(string text, int index) => 1 + text.AsSpan(0, index).Count('\n');

    /// <summary>Statements up to the end of one line. On a mistake the rest is skipped to where an assignment may begin again.</summary>
    private void ReadLine()
    {
        int begin = _at.Position;
        string key = "file";
        try
        {
            ReadStatements(ref key);
        }
        catch (BashSyntaxException mistake)
        {
            _errors.Add(new(_path, mistake.Line, key, mistake.Problem, mistake.Fix));
            _at.SkipToAssignmentAfter(begin, mistake.Terminator);
        }
    }

    private void ReadStatements(ref string key)
    {
        bool mayStart = true; // a statement may begin here: start of line or after ';'
        while (true)
        {
            _at.SkipBlanks();
            if (_at.TryEndLine()) { return; }
            if (_at.TryTake(';'))
            {
                if (mayStart) { throw new BashSyntaxException(_at.Line, "';' without a statement before it", "Remove it"); }
                mayStart = true;
                continue;
            }
            if (!mayStart) { throw Command(key); }
            mayStart = false;
            ReadStatement(ref key);
        }
    }

    private BashSyntaxException Command(string key)
    {
        string word = _at.PeekWord();
        return word.Length > 0 && "&|<>()".Contains(word[0])
            ? new(_at.Line, $"'{word[0]}' is shell code, not part of a value", $"Put the whole value in single quotes: {key}='...'")
            : new(_at.Line, $"'{word}' stands apart from the value, so bash would run it as a command", $"Put the whole value in single quotes: {key}='...'");
    }

    private void ReadStatement(ref string key)
    {
        if (_at.TryTakeAssignmentName(out string name, out bool append))
        {
            do { key = name; Assign(name, append, inExport: false); _at.SkipBlanks(); }
            while (_at.TryTakeAssignmentName(out name, out append));
            return;
        }
        string word = _at.PeekWord();
        switch (word)
        {
            case "export": _at.Take(word); ReadExports(ref key); return;
            case "unset": _at.Take(word); ReadUnsets(); return;
        }
        if (BashCursor.TerminatorOf(word) is { } terminator)
        {
            throw new BashSyntaxException(_at.Line, $"'{word}' is shell code; only NAME=value lines are read", "Write the value that applies as a plain NAME=value line") { Terminator = terminator };
        }
        throw new BashSyntaxException(_at.Line, $"'{word}' is not an assignment", "Write NAME='value', without blanks around '=', or begin the line with # to make it a comment");
    }

    private void ReadExports(ref string key)
    {
        while (true)
        {
            _at.SkipBlanks();
            if (_at.IsStatementEnd) { return; }
            if (_at.TryTakeAssignmentName(out string name, out bool append)) { key = name; Assign(name, append, inExport: true); }
            else if (_at.TryTakeName(out name)) { key = name; } // every variable is exported anyway
            else { throw new BashSyntaxException(_at.Line, $"'export {_at.PeekWord()}' does not name a variable", "Write export NAME='value'"); }
        }
    }

    private void ReadUnsets()
    {
        while (true)
        {
            _at.SkipBlanks();
            if (_at.IsStatementEnd) { return; }
            int line = _at.Line;
            if (!_at.TryTakeName(out string name) || s_readOnly.Contains(name)) { throw new BashSyntaxException(line, $"'unset {_at.PeekWord()}' does not name a variable", "Write unset NAME"); }
            _variables.Remove(name);
            _assigned.Add(new(name, "", line, IsUnset: true));
        }
    }

    private void Assign(string name, bool append, bool inExport)
    {
        int line = _at.Line;
        if (s_readOnly.Contains(name)) { throw new BashSyntaxException(line, "bash does not let this variable be set", "Remove the line"); }
        string value = BashWord.Read(_at, _variables, inExport);
        if (append) { value = _variables.GetValueOrDefault(name, "") + value; }
        _variables[name] = value;
        _assigned.Add(new(name, value, line));
    }
}
