using System.Text;

namespace VmSidecar.Configuration;

/// <summary>
/// Reads the right-hand side of an assignment as bash does: quotes, escapes, <c>$NAME</c>, <c>${NAME:-word}</c>, tilde; no word splitting and
/// no globbing there (bash manual, "Simple Command Expansion"). Command substitution and arithmetic are mistakes. Used by <see cref="BashEnvFile"/>.
/// </summary>
internal sealed class BashWord
{
    private const int MaxDepth = 16; // nested ${A:-${B:-...}}; deeper is hostile
    private const int MaxLength = 1 << 20; // of one value: larger than the kernel takes in one variable (128 KiB)
    private readonly BashCursor _at;
    private readonly IReadOnlyDictionary<string, string> _variables;
    private readonly bool _inExport;
    private readonly StringBuilder _value = new();
    private int _depth;

    private BashWord(BashCursor at, IReadOnlyDictionary<string, string> variables, bool inExport) =>
        (_at, _variables, _inExport) = (at, variables, inExport);

    /// <summary>Takes the value at the cursor.</summary>
    /// <exception cref="BashSyntaxException">It is more than a value.</exception>
    public static string Read(BashCursor at, IReadOnlyDictionary<string, string> variables, bool inExport)
    {
        var word = new BashWord(at, variables, inExport);
        word.ReadWord();
        return BashEscape.JoinBytes(word._value);
    }

    private void ReadWord()
    {
        bool mayBeTilde = true; // at the start of the value and after each unquoted ':'
        while (!_at.IsWordEnd)
        {
            char c = _at.Current;
            if (c == '~' && mayBeTilde) { ReadTilde(); mayBeTilde = false; continue; }
            mayBeTilde = c == ':';
            ReadPiece(c);
            Limit();
        }
        if (_at.Current is '(' && _value.Length == 0) { throw new BashSyntaxException(_at.Line, "a list in (...) is shell code", "Write the value in single quotes"); }
        if (_at.Current is '&' or '|' or '<' or '>' or '(' or ')' && !_at.IsAtEnd)
        {
            throw new BashSyntaxException(_at.Line, $"an unquoted '{_at.Current}' is shell code", "Put the whole value in single quotes");
        }
    }

    /// <summary>One quoted part, escape, expansion or plain character outside quotes.</summary>
    private void ReadPiece(char c)
    {
        switch (c)
        {
            case '\'': ReadSingle(); break;
            case '"': _at.TakeChar(); ReadDouble(); break;
            case '\\': ReadEscape(); break;
            case '$': ReadDollar(quoted: false); break;
            case '`': throw Substitution();
            case '{' when _inExport: throw new BashSyntaxException(_at.Line, "an unquoted '{' is expanded by bash after export", "Put the whole value in single quotes");
            default: _value.Append(_at.TakeChar()); break;
        }
    }

    private void ReadSingle()
    {
        int line = _at.Line;
        _at.TakeChar();
        while (!_at.TryTake('\''))
        {
            if (_at.IsAtEnd) { throw Unclosed(line, '\''); }
            _value.Append(_at.TakeChar());
        }
    }

    private void ReadDouble()
    {
        int line = _at.Line;
        while (!_at.TryTake('"'))
        {
            if (_at.IsAtEnd) { throw Unclosed(line, '"'); }
            char c = _at.Current;
            switch (c)
            {
                case '$': ReadDollar(quoted: true); break;
                case '`': throw Substitution();
                case '\\' when _at.Next is '$' or '`' or '"' or '\\': _at.TakeChar(); _value.Append(_at.TakeChar()); break;
                case '\\' when _at.Next == '\n': _at.Take("\\\n"); break;
                default: _value.Append(_at.TakeChar()); break;
            }
            Limit();
        }
    }

    private void ReadEscape()
    {
        _at.TakeChar();
        if (_at.IsAtEnd) { _value.Append('\\'); return; } // bash keeps a backslash at the very end
        char c = _at.TakeChar();
        if (c != '\n') { _value.Append(c); } // backslash, newline: the line goes on
    }

    private void ReadTilde()
    {
        int line = _at.Line;
        _at.TakeChar();
        if (!_at.IsWordEnd && _at.Current is not ('/' or ':'))
        {
            throw new BashSyntaxException(line, "'~' with a name stands for a home folder", "Write the folder in full, or put the value in single quotes");
        }
        if (!_variables.TryGetValue("HOME", out string? home)) { throw new BashSyntaxException(line, "'~' is used but HOME is not set", "Write the folder in full"); }
        _value.Append(home);
    }

    private void ReadDollar(bool quoted)
    {
        int line = _at.Line;
        _at.TakeChar();
        char c = _at.Current;
        if (_at.IsAtEnd) { _value.Append('$'); return; }
        if (c == '\'' && !quoted) { _at.TakeChar(); BashEscape.ReadAnsi(_at, _value, line); return; }
        if (c == '"' && !quoted) { _at.TakeChar(); ReadDouble(); return; } // a translated string; there are no translations
        if (c is '(' or '[') { throw Substitution(); }
        if (c == '{') { _at.TakeChar(); ReadBraced(quoted, line); return; }
        if (char.IsAsciiDigit(c) || c is '@' or '*' or '#' or '?' or '-' or '$' or '!')
        {
            throw new BashSyntaxException(line, $"'${c}' is a variable of the shell itself", "Put the value in single quotes");
        }
        string name = _at.TakeNamePrefix();
        _value.Append(name.Length == 0 ? "$" : _variables.GetValueOrDefault(name, ""));
    }

    /// <summary><c>${NAME}</c>, and with <c>:-</c>, <c>-</c>, <c>:+</c>, <c>+</c> a word that stands in.</summary>
    private void ReadBraced(bool quoted, int line)
    {
        string name = _at.TakeNamePrefix();
        bool isSet = _variables.TryGetValue(name, out string? value);
        if (name.Length > 0 && _at.TryTake('}')) { _value.Append(value); return; }
        bool emptyCounts = _at.TryTake(':');
        char form = _at.Current;
        if (name.Length == 0 || form is not ('-' or '+')) { throw new BashSyntaxException(line, $"'${{{name}...' is an expansion that is not supported", "Write the value that applies"); }
        _at.TakeChar();
        bool present = isSet && !(emptyCounts && value!.Length == 0);
        bool useWord = form == '-' ? !present : present;
        int before = _value.Length;
        if (form == '-' && present) { _value.Append(value); }
        int keep = _value.Length;
        if (++_depth > MaxDepth) { throw new BashSyntaxException(line, "expansions are nested too deeply", "Write the value that applies"); }
        ReadBracedWord(quoted, line);
        _depth--;
        if (!useWord) { _value.Length = form == '-' ? keep : before; }
    }

    private void ReadBracedWord(bool quoted, int line)
    {
        bool mayBeTilde = !quoted;
        while (!_at.TryTake('}'))
        {
            if (_at.IsAtEnd) { throw new BashSyntaxException(line, "'${' opened here is never closed", "Add the missing '}'"); }
            char c = _at.Current;
            if (c == '~' && mayBeTilde) { throw new BashSyntaxException(line, "'~' inside ${...} is not supported", "Write the folder in full"); }
            mayBeTilde = false;
            if (quoted && c == '"') { _at.TakeChar(); ReadDouble(); }
            else if (quoted && c == '\'') { _value.Append(_at.TakeChar()); }
            else if (quoted && c == '\\' && _at.Next is not ('$' or '`' or '"' or '\\' or '\n' or '}')) { _value.Append(_at.TakeChar()); }
            else { ReadPiece(c); }
            Limit();
        }
    }

    private void Limit()
    {
        if (_value.Length > MaxLength) { throw new BashSyntaxException(_at.Line, "the value is longer than 1 MiB", "Shorten it"); }
    }

    private BashSyntaxException Substitution() =>
        new(_at.Line, "the value would run a command or compute something", "Write the value itself, or put it in single quotes if it is meant as it stands");

    private static BashSyntaxException Unclosed(int line, char quote) =>
        new(line, $"the quote {quote} opened on this line is never closed", $"Add the missing {quote}; write ' inside single quotes as '\"'\"'");
}
