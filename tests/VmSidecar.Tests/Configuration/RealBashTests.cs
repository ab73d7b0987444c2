using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;

using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>The parser against the real bash, on files generated from the grammar it supports, and against arbitrary text.</summary>
public sealed class RealBashTests
{
    private const int Files = 60, LinesPerFile = 25, Seed = 20261123;

    [Fact]
    public async Task Agrees_with_bash_on_generated_files()
    {
        if (!File.Exists("/bin/bash")) { Assert.Skip("bash is not installed"); }
        string path = Path.GetTempFileName();
        try
        {
            for (int seed = Seed; seed < Seed + Files; seed++)
            {
                string text = Generate(new Random(seed));
                await File.WriteAllTextAsync(path, text);
                Dictionary<string, string> bash = await SourceAsync(path);
                List<ConfigError> errors = [];
                var ours = new Dictionary<string, string>();
                foreach (EnvAssignment a in BashEnvFile.Parse(path, text, new Dictionary<string, string> { ["HOME"] = "/home/u" }, errors))
                {
                    if (a.IsUnset) { ours.Remove(a.Key); } else { ours[a.Key] = a.Value; }
                }
                Assert.True(errors.Count == 0, $"seed {seed}: {string.Join("; ", errors)}\n{text}");
                foreach ((string key, string value) in ours) { Assert.True(bash.GetValueOrDefault(key) == value, $"seed {seed}: {key}: bash '{bash.GetValueOrDefault(key)}', ours '{value}'\n{text}"); }
                Assert.Equal(bash.Keys.Where(k => k.StartsWith('V')).Order(), ours.Keys.Order());
            }
        }
        finally { File.Delete(path); }
    }

    [Theory]
    [MemberData(nameof(BashEnvFileTests.Values), MemberType = typeof(BashEnvFileTests))]
    public async Task Bash_gives_the_values_of_the_table(string text, string value)
    {
        if (!File.Exists("/bin/bash")) { Assert.Skip("bash is not installed"); }
        string path = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(path, text + "\n");
            Dictionary<string, string> bash = await SourceAsync(path, ("HOME", "/root"), ("INHERITED", "inherited value"), ("EMPTY", ""));
            string last = BashEnvFile.Parse(path, text, new Dictionary<string, string> { ["HOME"] = "/root" }, [])[^1].Key;
            Assert.Equal(value, bash[last]);
        }
        finally { File.Delete(path); }
    }

    [Fact]
    public void Arbitrary_text_never_throws()
    {
        const string Alphabet = "AB_=='\"\"\\$${}()`~:-+#;&|<> \t\n\r01xuUcifdon\u00e9\uFEFF\0\uE0A9\uD83D";
        for (int seed = 0; seed < 4_000; seed++)
        {
            var random = new Random(seed);
            string text = new([.. Enumerable.Range(0, random.Next(0, 120)).Select(_ => Alphabet[random.Next(Alphabet.Length)])]);
            List<ConfigError> errors = [];
            ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("f", text, new Dictionary<string, string> { ["A"] = "a" }, errors);
            Assert.All(errors, e => Assert.InRange(e.Line, 1, 1 + text.Count(c => c == '\n')));
            Assert.All(assigned, a => Assert.InRange(a.Line, 1, 1 + text.Count(c => c == '\n')));
        }
    }

    private static string Generate(Random random)
    {
        var text = new StringBuilder();
        for (int i = 0; i < LinesPerFile; i++)
        {
            string name = $"V{random.Next(6)}";
            switch (random.Next(12))
            {
                case 0: text.Append("# ").Append(name).Append("=$(never run)\n"); break;
                case 1: text.Append(" \t\n"); break;
                case 2: text.Append("unset ").Append(name).Append('\n'); break;
                case 3: text.Append("export ").Append(name).Append('=').Append(Word(random, inExport: true)).Append(" # end\n"); break;
                case 4: text.Append(name).Append("+=").Append(Word(random)).Append('\n'); break;
                case 5: text.Append(name).Append('=').Append(Word(random)).Append("; W").Append(name).Append("=1 \n").Append("unset W").Append(name).Append('\n'); break;
                default: text.Append(name).Append('=').Append(Word(random)).Append('\n'); break;
            }
        }
        return text.ToString();
    }

    private static string Word(Random random, bool inExport = false)
    {
        var word = new StringBuilder();
        for (int pieces = random.Next(0, 5); pieces > 0; pieces--)
        {
            word.Append(random.Next(11) switch
            {
                0 => $"'{Plain(random, " \"$`\\#;&|<>()*?{}~\n")}'",
                1 => $"\"{Plain(random, " '#;&|<>()*?{}~!")}\"",
                2 => $"\"a\\\"b\\\\c\\$d $V{random.Next(6)} ${{V{random.Next(6)}}}\"",
                3 => $"\\{" '\"$`\\#;&|<>()*?{}~!"[random.Next(20)]}",
                4 => $"$V{random.Next(6)}",
                5 => $"${{V{random.Next(6)}:-{Plain(random, "*?")}}}",
                6 => $"\"${{V{random.Next(6)}-a 'b' \\\" c}}\"",
                7 => $"$'{Plain(random, " \"$#")}\\t\\n\\\\\\'\\x41\\101\\u00e9'",
                8 => $"${{V{random.Next(6)}+x}}",
                9 => "a\\\nb",
                _ => Plain(random, inExport ? "*?[]:=,./-@%+^" : "*?[]:=,./-@%+^{}"),
            });
        }
        return word.ToString();
    }

    private static string Plain(Random random, string signs)
    {
        string alphabet = "abcXYZ019_" + signs;
        return new([.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => alphabet[random.Next(alphabet.Length)])]);
    }

    private static async Task<Dictionary<string, string>> SourceAsync(string path, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo("/bin/bash", ["-c", $"set -e; set -a; . {path}; env -0"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment.Clear();
        foreach ((string name, string value) in environment.Append(("PATH", "/usr/bin:/bin")).Append(("LC_ALL", "C.UTF-8")).DistinctBy(e => e.Item1)) { start.Environment[name] = value; }
        start.Environment.TryAdd("HOME", "/home/u");
        using var bash = Process.Start(start)!;
        Task<string> errors = bash.StandardError.ReadToEndAsync();
        string output = await bash.StandardOutput.ReadToEndAsync();
        await bash.WaitForExitAsync();
        Assert.True(bash.ExitCode == 0, $"{await errors}\n{await File.ReadAllTextAsync(path)}");
        return output.Split('\0', StringSplitOptions.RemoveEmptyEntries).Select(v => v.Split('=', 2)).ToDictionary(v => v[0], v => v[1]);
    }
}
