using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace VmSidecar.Configuration;

/// <summary>
/// A YAML (or JSON) document as written: text of scalars, order and lines kept, types decided later by the field that reads it, so that an
/// unquoted <c>1.10</c> stays <c>1.10</c> where text is wanted. Size and depth are bounded. Made by <see cref="Parse"/>.
/// </summary>
internal sealed class YamlTree
{
    private const int MaxDepth = 64; // no message of the mesh configuration nests deeper than ten
    private const int MaxNodes = 100_000; // also bounds what aliases expand to

    private readonly List<YamlTree> _items = [];
    private readonly List<YamlMember> _members = [];

    private YamlTree(YamlKind kind, int line, string text = "", bool isQuoted = false) => (Kind, Line, Text, IsQuoted) = (kind, line, text, isQuoted);

    public YamlKind Kind { get; }
    public int Line { get; }

    /// <summary>Of a scalar.</summary>
    public string Text { get; }

    /// <summary>True for <c>"..."</c>, <c>'...'</c> and block scalars: text whatever it looks like.</summary>
    public bool IsQuoted { get; }

    /// <summary>Of a list.</summary>
    public IReadOnlyList<YamlTree> Items => _items;

    /// <summary>Of a mapping, in order.</summary>
    public IReadOnlyList<YamlMember> Members => _members;

    /// <summary><c>null</c>, <c>~</c> or nothing at all.</summary>
    public bool IsNull => Kind == YamlKind.Scalar && !IsQuoted && Text is "" or "~" or "null" or "Null" or "NULL";

    public YamlTree? Member(string key) => _members.Find(m => m.Key == key)?.Value;

    /// <summary>The first document of <paramref name="text"/>; null when it is empty or broken (then there is an error).</summary>
    public static YamlTree? Parse(string path, string text, ICollection<ConfigError> errors)
    {
        try
        {
            return new Builder(new Parser(new Scanner(new StringReader(text), skipComments: true))).Document();
        }
        catch (YamlException e)
        {
            int tab = Array.FindIndex(text.Split('\n'), line => line.AsSpan(0, line.Length - line.AsSpan().TrimStart().Length).Contains('\t') && line.Trim().Length > 0);
            if (tab >= 0) { errors.Add(new(path, tab + 1, "file", "is indented with a tab, which YAML does not allow", "Indent with spaces")); return null; }
            errors.Add(new(path, LineOf(e, text), "file", $"is not YAML: {Clause(e.Message)}", "Correct the line, or copy mesh.yaml again from istioctl's output"));
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or IndexOutOfRangeException or FormatException or OverflowException)
        {
            errors.Add(new(path, 0, "file", "is not YAML", "Copy mesh.yaml again from istioctl's output")); // the library's own slips on hostile text
        }
        return null;
    }

    /// <summary>Where the parser stumbled, not where the construct began; the end of the text counts as its last line.</summary>
    private static int LineOf(YamlException mistake, string text) =>
        Math.Clamp((int)Math.Max(mistake.Start.Line, mistake.End.Line), 1, Math.Max(1, text.TrimEnd().Count(c => c == '\n') + 1));

    private static string Clause(string message) => message.ReplaceLineEndings(" ").TrimEnd('.', ' ');

    /// <summary>Builds the tree from parser events; one per document.</summary>
    private sealed class Builder(Parser parser)
    {
        private readonly Dictionary<string, YamlTree> _anchors = [];
        private int _nodes;

        public YamlTree? Document()
        {
            parser.MoveNext();
            while (parser.Current is StreamStart or DocumentStart) { parser.MoveNext(); }
            return parser.Current is null or StreamEnd or DocumentEnd ? null : Node(0);
        }

        private YamlTree Node(int depth)
        {
            ParsingEvent here = parser.Current ?? throw new YamlException("the text ends too early");
            if (depth > MaxDepth) { throw new YamlException(here.Start, here.End, "nested too deeply"); }
            Count(1, here);
            int line = (int)here.Start.Line;
            switch (here)
            {
                case Scalar scalar:
                    parser.MoveNext();
                    return Anchored(scalar, new(YamlKind.Scalar, line, scalar.Value, scalar.Style is not ScalarStyle.Plain || scalar.Tag == "tag:yaml.org,2002:str"));
                case SequenceStart sequence:
                    return Anchored(sequence, List(line, depth));
                case MappingStart mapping:
                    return Anchored(mapping, Mapping(line, depth));
                case AnchorAlias alias:
                    parser.MoveNext();
                    if (!_anchors.TryGetValue(alias.Value.Value, out YamlTree? target)) { throw new YamlException(alias.Start, alias.End, $"'*{alias.Value}' refers to nothing"); }
                    Count(target.Size(), alias);
                    return target;
                default:
                    throw new YamlException(here.Start, here.End, "something else was expected here");
            }
        }

        private void Count(int more, ParsingEvent here)
        {
            _nodes += more;
            if (_nodes > MaxNodes) { throw new YamlException(here.Start, here.End, "the document is too large"); }
        }

        private YamlTree Anchored(NodeEvent node, YamlTree tree)
        {
            if (!node.Anchor.IsEmpty) { _anchors[node.Anchor.Value] = tree; }
            return tree;
        }

        private YamlTree List(int line, int depth)
        {
            var list = new YamlTree(YamlKind.List, line);
            parser.MoveNext();
            while (parser.Current is not SequenceEnd) { list._items.Add(Node(depth + 1)); }
            parser.MoveNext();
            return list;
        }

        private YamlTree Mapping(int line, int depth)
        {
            var mapping = new YamlTree(YamlKind.Mapping, line);
            var seen = new HashSet<string>();
            parser.MoveNext();
            while (parser.Current is not MappingEnd)
            {
                ParsingEvent at = parser.Current!;
                YamlTree key = Node(depth + 1);
                if (key.Kind != YamlKind.Scalar) { throw new YamlException(at.Start, at.End, "a key must be plain text"); }
                if (!seen.Add(key.Text)) { throw new YamlException(at.Start, at.End, $"the key '{key.Text}' stands twice in one mapping"); }
                mapping._members.Add(new(key.Text, key.Line, Node(depth + 1)));
            }
            parser.MoveNext();
            return mapping;
        }
    }

    private int Size() => 1 + _items.Sum(i => i.Size()) + _members.Sum(m => 1 + m.Value.Size());
}

/// <summary>One entry of a mapping.</summary>
internal sealed record YamlMember(string Key, int Line, YamlTree Value);

/// <summary>Kinds of <see cref="YamlTree"/>.</summary>
internal enum YamlKind
{
    Scalar,
    List,
    Mapping,
}
