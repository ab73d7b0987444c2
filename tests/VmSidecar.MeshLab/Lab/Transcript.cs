namespace VmSidecar.MeshLab.Lab;

/// <summary>What the person running the lab reads: steps, commands, their output, and a tick for each thing asserted.</summary>
internal sealed class Transcript(TextWriter output, TimeProvider time)
{
    private readonly long _begin = time.GetTimestamp();

    /// <summary>A numbered heading.</summary>
    public void Step(int number, string title) => output.WriteLine($"\n=== {number}. {title}  [{time.GetElapsedTime(_begin).TotalSeconds:F1} s]");

    /// <summary>A command as a person would type it, with where it runs.</summary>
    public void Command(string place, string command) => output.WriteLine($"[{place}]$ {command}");

    /// <summary>Output of a command, indented; long output is cut in the middle.</summary>
    public void Output(string text)
    {
        string[] lines = text.TrimEnd().Split('\n');
        IEnumerable<string> shown = lines.Length <= 24 ? lines : [.. lines[..12], $"... {lines.Length - 20} lines ...", .. lines[^8..]];
        foreach (string line in shown) { output.WriteLine("    " + line); }
    }

    /// <summary>A remark.</summary>
    public void Note(string text) => output.WriteLine("  # " + text);

    /// <summary>Asserts; the sentence is printed either way.</summary>
    public void Check(bool holds, string claim, string? seen = null)
    {
        output.WriteLine(holds ? $"  ok: {claim}" : $"  FAILED: {claim}");
        if (!holds) { throw new LabException($"{claim}{(seen is null ? "" : $"; seen: {seen}")}"); }
    }
}
