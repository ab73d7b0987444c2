using System.Text.RegularExpressions;

using Xunit;

namespace VmSidecar.Tests.House;

/// <summary>What a reviewer would otherwise have to police. Each failure names file and line.</summary>
public sealed partial class HouseRulesTests
{
    private const int LongestFile = 300;

    [Fact]
    public void A_file_fits_in_the_head() => Empty(
        from file in Repository.Sources("src").Concat(Repository.Sources("tests"))
        where file.Lines.Length > LongestFile && !file.Lines.Take(3).Any(l => l.StartsWith("// Long because", StringComparison.Ordinal))
        select $"{file.Path}: {file.Lines.Length} lines; split it, or say '// Long because ...' at the top");

    [Fact]
    public void The_namespace_is_the_folder() => Empty(
        from file in Repository.Sources("src").Concat(Repository.Sources("tests"))
        let declared = file.Lines.FirstOrDefault(l => l.StartsWith("namespace ", StringComparison.Ordinal))
        where declared is not null
        let expected = string.Join('.', file.Path.Split('/')[1..^1])
        where declared != $"namespace {expected};"
        select $"{file.Path}: '{declared}' but the folder says {expected}");

    [Fact]
    public void The_file_is_named_after_a_type_in_it() => Empty(
        from file in Repository.Sources("src")
        let name = Path.GetFileNameWithoutExtension(file.Path).Split('.')[0]
        where name is not ("Program" or "GlobalUsings" or "AssemblyPlatform")
        where !file.Lines.Any(l => Regex.IsMatch(l, $@"\b(class|record|struct|interface|enum|delegate)\b.*\b{Regex.Escape(name)}\b"))
        select $"{file.Path}: no type {name} in it");

    [Fact]
    public void No_type_has_a_name_that_says_nothing() => Empty(
        from file in Repository.Sources("src")
        from line in file.Lines.Select((text, index) => (text, number: index + 1))
        let type = TypeDeclaration().Match(line.text)
        where type.Success && Vague().IsMatch(type.Groups[2].Value)
        select $"{file.Path}:{line.number}: {type.Groups[2].Value}");

    [Fact]
    public void Every_type_says_what_it_owns() => Empty(
        from file in Repository.Sources("src")
        from line in file.Lines.Select((text, index) => (text, index))
        where TopLevelType().IsMatch(line.text) && !DocumentedAbove(file.Lines, line.index)
        select $"{file.Path}:{line.index + 1}: no summary above '{line.text.Trim()}'");

    [Fact]
    public void Nothing_is_left_for_later() => Empty(
        from file in Repository.Sources("src").Concat(Repository.Sources("tests"))
        where !file.Path.Contains("/House/", StringComparison.Ordinal)
        from line in file.Lines.Select((text, index) => (text, number: index + 1))
        where Unfinished().IsMatch(line.text)
        select $"{file.Path}:{line.number}: {line.text.Trim()}");

    [Fact]
    public void No_error_is_swallowed_unnamed() => Empty(
        from file in Repository.Sources("src")
        from line in file.Lines.Select((text, index) => (text, number: index + 1))
        where Swallowed().IsMatch(line.text)
        select $"{file.Path}:{line.number}: {line.text.Trim()}");

    [Fact]
    public void Only_Program_and_the_verbs_talk_to_the_console() => Empty(
        from file in Repository.Sources("src")
        where !file.Path.EndsWith("/Program.cs", StringComparison.Ordinal) && !file.Path.Contains("/Commands/", StringComparison.Ordinal)
        from line in file.Lines.Select((text, index) => (text, number: index + 1))
        where ConsoleCall().IsMatch(line.text)
        select $"{file.Path}:{line.number}: {line.text.Trim()}");

    [Fact]
    public void Tests_do_not_sleep() => Empty(
        from file in Repository.Sources("tests")
        where !file.Path.Contains("/House/", StringComparison.Ordinal)
        from line in file.Lines.Select((text, index) => (text, number: index + 1))
        where line.text.Contains("Thread.Sleep", StringComparison.Ordinal)
        select $"{file.Path}:{line.number}");

    [Fact]
    public void The_top_level_is_fixed()
    {
        string[] known =
        [
            "src", "tests", "packaging", "systemd", "proto", "build.sh", "VmSidecar.sln", "README.md", "CHANGELOG.md", "global.json", "BannedSymbols.txt",
            "Directory.Build.props", "Directory.Packages.props", ".editorconfig", ".gitignore", ".gitattributes", ".ci", ".git", "out", "LICENSE",
        ];
        Empty(Directory.EnumerateFileSystemEntries(Repository.Root).Select(p => Path.GetFileName(p)!).Except(known).Where(n => n is not (".vs" or ".idea")));
    }

    private static bool DocumentedAbove(string[] lines, int index)
    {
        for (int i = index - 1; i >= 0; i--)
        {
            string line = lines[i].Trim();
            if (line.StartsWith("///", StringComparison.Ordinal)) { return true; }
            if (!line.StartsWith('[')) { return false; }
        }
        return false;
    }

    private static void Empty(IEnumerable<string> findings)
    {
        string[] all = [.. findings];
        Assert.True(all.Length == 0, string.Join('\n', all));
    }

    [GeneratedRegex(@"^\s*(?:public |internal |private |sealed |static |abstract |partial |readonly |ref |file )*\b(class|record struct|record class|record|struct|interface|enum)\s+(\w+)")]
    private static partial Regex TypeDeclaration();

    [GeneratedRegex(@"^(?:public |internal |sealed |static |abstract |partial |readonly |ref |file )+\b(class|record|struct|interface|enum)\b")]
    private static partial Regex TopLevelType();

    [GeneratedRegex("(Manager|Helper|Helpers|Util|Utils|Utility|Common|Impl|Info)$")]
    private static partial Regex Vague();

    [GeneratedRegex(@"\b(TODO|FIXME|HACK|XXX)\b|NotImplementedException")]
    private static partial Regex Unfinished();

    [GeneratedRegex(@"catch\s*(\(Exception[^)]*\))?\s*\{\s*\}")]
    private static partial Regex Swallowed();

    [GeneratedRegex(@"(?<![\w.])Console\.")]
    private static partial Regex ConsoleCall();
}
