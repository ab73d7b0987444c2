using System.Collections.Immutable;

using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>Environment files read as bash reads them, and what is more than a value is reported with its line.</summary>
public sealed class BashEnvFileTests
{
    private static readonly Dictionary<string, string> s_environment = new() { ["HOME"] = "/root", ["INHERITED"] = "inherited value", ["EMPTY"] = "" };

    /// <summary>Text and the value of the last assignment; all were run through bash by <see cref="RealBashTests"/> too.</summary>
    public static TheoryData<string, string> Values => new()
    {
        { "A='{\"a\":\"it'\"'\"'s\",\"b\":\"x y\"}'", "{\"a\":\"it's\",\"b\":\"x y\"}" },
        { "A=1\nB=\"q $A\"", "q 1" },
        { "export C=1 # t", "1" },
        { "D='x'#n", "x#n" },
        { "F=a\\ b", "a b" },
        { "G=", "" },
        { "X=*", "*" },
        { "X=a=b", "a=b" },
        { "X=\\", "" }, // the line goes on: what istioctl writes for a lone backslash does not come back
        { "A1=x\nX=$A\\\n1", "x" },
        { "X=\"a\\\"b\\$c\\`d\\\\e\\f\"", "a\"b$c`d\\e\\f" },
        { "X=$'a\\tb\\n\\x41\\101\\'\\u00e9'", "a\tb\nAA'\u00e9" },
        { "X=$'\\xc3\\xa9'", "\u00e9" },
        { "X=$\"text\"", "text" },
        { "X=$", "$" },
        { "X=\"a$\"", "a$" },
        { "X=a$%b", "a$%b" },
        { "X=${INHERITED}!", "inherited value!" },
        { "X=${UNSET:-fall back}", "fall back" },
        { "X=\"${UNSET:-'q'}\"", "'q'" },
        { "X=${EMPTY:-e}${EMPTY-d}", "e" },
        { "X=${INHERITED:+yes}${UNSET+no}", "yes" },
        { "X=${UNSET:-${INHERITED}}", "inherited value" },
        { "X=~", "/root" },
        { "X=~/x:~/y", "/root/x:/root/y" },
        { "X='~'", "~" },
        { "X=a~", "a~" },
        { "X=1 Y=2", "2" },
        { "export X=1 Y=2", "2" },
        { "X=a; X+=b", "ab" },
        { "  X=1", "1" },
        { "X='two\nlines'", "two\nlines" },
        { "X=a\\\nb", "ab" },
        { "X=\"a\\\nb\"", "ab" },
        { "# comment\n\nX=1\n# end", "1" },
        { "X={a,b}", "{a,b}" },
        { "X=[a]?", "[a]?" },
        { "X=a\"b\"'c'\\d", "abcd" },
        { "X=!", "!" },
    };

    [Theory]
    [MemberData(nameof(Values))]
    public void Reads_values_as_bash_does(string text, string value)
    {
        List<ConfigError> errors = [];
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("cluster.env", text + "\n", s_environment, errors);
        Assert.Empty(errors.Select(e => e.ToString()));
        Assert.Equal(value, assigned[^1].Value);
    }

    [Fact]
    public void A_carriage_return_stays_in_the_value_and_is_reported_once_with_the_cure()
    {
        List<ConfigError> errors = [];
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("/e/cluster.env", "X='*'\r\nY=2\r\n\r\n# c\r\n", s_environment, errors);
        Assert.Equal(["*\r", "2\r"], assigned.Select(a => a.Value));
        ConfigError error = Assert.Single(errors);
        Assert.Equal(1, error.Line);
        Assert.Equal("Run: sed -i 's/\\r$//' /e/cluster.env", error.Fix);
    }

    [Theory]
    [InlineData("X=a b", "'b' stands apart from the value, so bash would run it as a command")]
    [InlineData("X=$(hostname)", "the value would run a command or compute something")]
    [InlineData("X=`hostname`", "the value would run a command or compute something")]
    [InlineData("X=\"$(hostname)\"", "the value would run a command or compute something")]
    [InlineData("X=$((1+2))", "the value would run a command or compute something")]
    [InlineData("X = 1", "'X' is not an assignment")]
    [InlineData("echo hello", "'echo' is not an assignment")]
    [InlineData("X='a", "the quote ' opened on this line is never closed")]
    [InlineData("X=\"a", "the quote \" opened on this line is never closed")]
    [InlineData("X=$'a", "the quote $' opened on this line is never closed")]
    [InlineData("X=${Y", "'${Y...' is an expansion that is not supported")]
    [InlineData("X=${Y:-a", "'${' opened here is never closed")]
    [InlineData("X=${#Y}", "'${...' is an expansion that is not supported")]
    [InlineData("X=a&b", "an unquoted '&' is shell code")]
    [InlineData("X=a|b", "an unquoted '|' is shell code")]
    [InlineData("X=a>b", "an unquoted '>' is shell code")]
    [InlineData("X=(a b)", "a list in (...) is shell code")]
    [InlineData("X=$1", "'$1' is a variable of the shell itself")]
    [InlineData("X=~bob/x", "'~' with a name stands for a home folder")]
    [InlineData("X=1;;", "';' without a statement before it")]
    [InlineData("UID=5", "bash does not let this variable be set")]
    [InlineData("export X={a,b}", "an unquoted '{' is expanded by bash after export")]
    [InlineData("export 1X", "'export 1X' does not name a variable")]
    [InlineData("X=$'\\0'", "a zero byte cannot be part of a value")]
    public void Reports_what_is_more_than_a_value(string line, string problem)
    {
        List<ConfigError> errors = [];
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("sidecar.env", $"BEFORE=1\n\n{line}\nAFTER=2\n", s_environment, errors);
        ConfigError error = Assert.Single(errors);
        Assert.Equal(("sidecar.env", 3, problem), (error.File, error.Line, error.Problem));
        Assert.False(error.IsWarning);
        Assert.Contains("AFTER", assigned.Select(a => a.Key)); // and reads on
        Assert.Equal("1", assigned[0].Value);
    }

    [Theory]
    [InlineData("if [ -n \"$X\" ]; then\n  A=1\nelse\n  A=2\nfi")]
    [InlineData("for i in 1 2; do\n  A=$i\ndone")]
    [InlineData("case x in\n  x) A=1;;\nesac")]
    public void A_shell_construct_is_one_mistake(string construct)
    {
        List<ConfigError> errors = [];
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("sidecar.env", construct + "\nB=2\n", s_environment, errors);
        Assert.Equal(1, Assert.Single(errors).Line);
        Assert.Equal(["B"], assigned.Select(a => a.Key));
    }

    [Fact]
    public void Every_line_with_a_mistake_is_reported()
    {
        List<ConfigError> errors = [];
        BashEnvFile.Parse("f", "A=a b\nB=1\nC=$(x)\nD=2\nexec x\n", s_environment, errors);
        Assert.Equal([(1, "A"), (3, "C"), (5, "file")], errors.Select(e => (e.Line, e.Key)));
    }

    [Fact]
    public void Unset_removes_and_a_byte_order_mark_is_no_part_of_a_name()
    {
        List<ConfigError> errors = [];
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("f", "\uFEFFA=1\nunset A INHERITED\nB=x$A$INHERITED\n", s_environment, errors);
        Assert.Empty(errors);
        Assert.Equal([("A", false), ("A", true), ("INHERITED", true), ("B", false)], assigned.Select(a => (a.Key, a.IsUnset)));
        Assert.Equal("x", assigned[^1].Value);
    }

    [Fact]
    public void Expansions_nested_without_end_are_refused()
    {
        List<ConfigError> errors = [];
        BashEnvFile.Parse("f", "X=" + string.Concat(Enumerable.Repeat("${U:-", 10_000)), s_environment, errors);
        Assert.Equal("expansions are nested too deeply", Assert.Single(errors).Problem);
        errors.Clear();
        BashEnvFile.Parse("f", "A=0123456789abcdef\n" + string.Concat(Enumerable.Range(0, 40).Select(_ => "A=$A$A\n")), s_environment, errors);
        Assert.Contains(errors, e => e.Problem == "the value is longer than 1 MiB"); // doubling is stopped
    }
}
