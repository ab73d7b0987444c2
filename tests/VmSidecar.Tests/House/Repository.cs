namespace VmSidecar.Tests.House;

/// <summary>The working tree as the house rules see it.</summary>
internal static class Repository
{
    /// <summary>The folder of VmSidecar.sln.</summary>
    public static string Root { get; } = Find();

    /// <summary>Hand-written C# files below a folder, by path relative to the root.</summary>
    public static IEnumerable<(string Path, string[] Lines)> Sources(string below) => Directory
        .EnumerateFiles(Path.Combine(Root, below), "*.cs", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(Root, file))
        .Where(path => !path.Split('/').Any(part => part is "obj" or "bin"))
        .Order(StringComparer.Ordinal)
        .Select(path => (path, File.ReadAllLines(Path.Combine(Root, path))));

    private static string Find()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "VmSidecar.sln"))) { folder = Path.GetDirectoryName(folder); }
        return folder ?? throw new InvalidOperationException("VmSidecar.sln is not above the test folder");
    }
}
