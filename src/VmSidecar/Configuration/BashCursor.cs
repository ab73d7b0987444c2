namespace VmSidecar.Configuration;

/// <summary>A place in the text of an environment file, with the lexical classes of bash (metacharacters, names, blanks). Used by <see cref="BashEnvFile"/> and <see cref="BashWord"/>.</summary>
internal sealed class BashCursor(string text)
{
    private int _lineStartedAt;
    private int _line = 1;

    public int Position { get; private set; } = text.StartsWith('\uFEFF') ? 1 : 0; // a byte order mark is no part of the first name

    /// <summary>End of text.</summary>
    public bool IsAtEnd => Position >= text.Length;

    /// <summary>The character here, or NUL at the end.</summary>
    public char Current => Position < text.Length ? text[Position] : '\0';

    public char Next => Position + 1 < text.Length ? text[Position + 1] : '\0';

    /// <summary>1-based line of <see cref="Position"/>.</summary>
    public int Line
    {
        get
        {
            if (Position < _lineStartedAt) { (_line, _lineStartedAt) = (1, 0); }
            _line += text.AsSpan(_lineStartedAt, Math.Min(Position, text.Length) - _lineStartedAt).Count('\n');
            _lineStartedAt = Math.Min(Position, text.Length);
            return _line;
        }
    }

    /// <summary>True where a word ends: blank, line end or metacharacter.</summary>
    public bool IsWordEnd => IsAtEnd || Current is ' ' or '\t' or '\n' or ';' or '&' or '|' or '<' or '>' or '(' or ')';

    /// <summary>True before a line end, <c>;</c> or a comment.</summary>
    public bool IsStatementEnd => IsAtEnd || Current is '\n' or ';' or '#' or '\r';

    public char TakeChar() => text[Position++];

    public bool TryTake(char c)
    {
        if (IsAtEnd || Current != c) { return false; }
        Position++;
        return true;
    }

    public void Take(string word) => Position += word.Length;

    /// <summary>Blanks and continued lines.</summary>
    public void SkipBlanks()
    {
        while (!IsAtEnd)
        {
            if (Current is ' ' or '\t') { Position++; }
            else if (Current == '\\' && Next == '\n') { Position += 2; }
            else { return; }
        }
    }

    /// <summary>Takes a comment and the line end, if one of them is here.</summary>
    public bool TryEndLine()
    {
        if (IsAtEnd) { return true; }
        if (Current == '#')
        {
            int end = text.IndexOf('\n', Position);
            Position = end < 0 ? text.Length : end + 1;
            return true;
        }
        if (Current == '\r' && Next == '\n') { Position += 2; return true; } // reported once for the whole file
        return TryTake('\n');
    }

    /// <summary>The characters up to the end of the word, without interpreting quotes; at least one character.</summary>
    public string PeekWord()
    {
        int end = Position;
        while (end < text.Length && text[end] is not (' ' or '\t' or '\n' or '\r' or ';') && end - Position < 60) { end++; }
        return text[Position..Math.Max(end, Math.Min(Position + 1, text.Length))];
    }

    /// <summary><c>NAME=</c> or <c>NAME+=</c>; nothing is taken otherwise.</summary>
    public bool TryTakeAssignmentName(out string name, out bool append)
    {
        append = false;
        int end = EndOfName(Position);
        name = text[Position..end];
        if (name.Length == 0) { return false; }
        append = end < text.Length && text[end] == '+';
        int equals = append ? end + 1 : end;
        if (equals >= text.Length || text[equals] != '=') { return false; }
        Position = equals + 1;
        return true;
    }

    /// <summary>A name that is a whole word.</summary>
    public bool TryTakeName(out string name)
    {
        int end = EndOfName(Position);
        name = text[Position..end];
        if (name.Length == 0 || (end < text.Length && text[end] is not (' ' or '\t' or '\n' or '\r' or ';'))) { return false; }
        Position = end;
        return true;
    }

    /// <summary>The longest name here, possibly empty; a continued line does not end it.</summary>
    public string TakeNamePrefix()
    {
        int end = EndOfName(Position);
        string name = text[Position..end];
        Position = end;
        while (name.Length > 0 && Current == '\\' && Next == '\n')
        {
            int more = Math.Max(text.AsSpan(Position + 2).IndexOfAnyExcept(s_nameCharacters), 0);
            name += text.Substring(Position + 2, more);
            Position += 2 + more;
        }
        return name;
    }

    /// <summary>The word that closes a shell construct begun by <paramref name="word"/>; null: it begins none.</summary>
    public static string? TerminatorOf(string word) => word switch
    {
        "if" => "fi",
        "for" or "while" or "until" or "select" => "done",
        "case" => "esac",
        "{" or "function" => "}",
        _ => null,
    };

    /// <summary>Goes to the first line after <paramref name="begin"/> that looks like an assignment, past <paramref name="terminator"/> where one is given.</summary>
    public void SkipToAssignmentAfter(int begin, string? terminator)
    {
        Position = begin;
        int depth = terminator is null ? 0 : 1;
        ToNextLine();
        while (!IsAtEnd)
        {
            int line = Position;
            SkipBlanks();
            string word = IsAtEnd ? "" : PeekWord();
            if (depth > 0)
            {
                if (word == terminator) { depth--; }
                else if (terminator == TerminatorOf(word)) { depth++; }
            }
            else if (word is "" or "export" or "unset" || word[0] is '#' or '\n' || LooksLikeAssignment(word) || TerminatorOf(word) is not null) { Position = line; return; }
            Position = line;
            ToNextLine();
        }
    }

    private static bool LooksLikeAssignment(string word)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && word.AsSpan(0, equals).TrimEnd('+') is { Length: > 0 } name && !name.ContainsAnyExcept(s_nameCharacters) && !char.IsAsciiDigit(name[0]);
    }

    private static readonly System.Buffers.SearchValues<char> s_nameCharacters =
        System.Buffers.SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    private void ToNextLine()
    {
        int end = text.IndexOf('\n', Position);
        Position = end < 0 ? text.Length : end + 1;
    }

    private int EndOfName(int from)
    {
        if (from >= text.Length || char.IsAsciiDigit(text[from])) { return from; }
        int length = text.AsSpan(from).IndexOfAnyExcept(s_nameCharacters);
        return length < 0 ? text.Length : from + length;
    }
}
