using System.Security.Cryptography;

namespace VmSidecar.Fuzz.Engine;

/// <summary>Inputs of one target as files named after their content.</summary>
internal sealed class Corpus(string folder)
{
    public string Folder { get; } = folder;

    /// <summary>All inputs in a fixed order; none when the folder is missing.</summary>
    public IEnumerable<byte[]> Load() =>
        Directory.Exists(Folder) ? Directory.EnumerateFiles(Folder).Order(StringComparer.Ordinal).Select(File.ReadAllBytes) : [];

    /// <summary>Keeps an input and returns its file.</summary>
    public string Save(byte[] input, string prefix = "")
    {
        Directory.CreateDirectory(Folder);
        string file = Path.Combine(Folder, prefix + Convert.ToHexStringLower(SHA256.HashData(input))[..16]);
        File.WriteAllBytes(file, input);
        return file;
    }
}
