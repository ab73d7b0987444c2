using System.Collections.Immutable;
using System.Formats.Tar;
using System.IO.Compression;

namespace VmSidecar.Commands;

/// <summary>
/// The five files of istioctl from a folder or an archive (tar, tar.gz, zip). Known by their last name, wherever in the archive they lie; everything else is
/// passed over, nothing is unpacked to disk, and each file has a bound.
/// </summary>
/// <param name="Files">Name to content.</param>
/// <param name="Problems">What could not be read, one clause each.</param>
internal sealed record OnboardingSource(ImmutableDictionary<string, byte[]> Files, ImmutableArray<string> Problems)
{
    public const string ClusterEnv = "cluster.env", Mesh = "mesh.yaml", RootCert = "root-cert.pem", Token = "istio-token", Hosts = "hosts";
    private const int MaxFile = 1024 * 1024, MaxEntries = 1000;

    /// <summary>The five, in the order istioctl's guide names them.</summary>
    public static ImmutableArray<string> Names { get; } = [RootCert, Token, ClusterEnv, Mesh, Hosts];

    /// <summary>Reads a folder or an archive. Throws IOException, UnauthorizedAccessException or InvalidDataException where that is not possible at all.</summary>
    public static OnboardingSource Read(string path)
    {
        var found = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var problems = new List<string>();
        if (Directory.Exists(path))
        {
            foreach (string name in Names.Where(n => File.Exists(Path.Combine(path, n))))
            {
                using FileStream file = File.OpenRead(Path.Combine(path, name));
                Take(name, file, found, problems);
            }
        }
        else
        {
            using FileStream archive = File.OpenRead(path);
            ReadArchive(archive, found, problems);
        }
        return new(found.ToImmutableDictionary(), [.. problems]);
    }

    private static void ReadArchive(FileStream archive, Dictionary<string, byte[]> found, List<string> problems)
    {
        Span<byte> magic = stackalloc byte[2];
        int read = archive.ReadAtLeast(magic, 2, throwOnEndOfStream: false);
        archive.Position = 0;
        if (read == 2 && magic.SequenceEqual("PK"u8))
        {
            using var zip = new ZipArchive(archive, ZipArchiveMode.Read);
            foreach (ZipArchiveEntry entry in zip.Entries.Take(MaxEntries).Where(e => IsKnown(e.FullName)))
            {
                using Stream content = entry.Open();
                Take(entry.Name, content, found, problems);
            }
            return;
        }
        using Stream plain = read == 2 && magic[0] == 0x1f && magic[1] == 0x8b ? new GZipStream(archive, CompressionMode.Decompress) : archive;
        using var tar = new TarReader(plain);
        for (int i = 0; i < MaxEntries && tar.GetNextEntry() is { } entry; i++)
        {
            if (entry.DataStream is { } content && IsKnown(entry.Name)) { Take(Path.GetFileName(entry.Name), content, found, problems); }
        }
    }

    private static bool IsKnown(string name) => Names.Contains(Path.GetFileName(name));

    private static void Take(string name, Stream content, Dictionary<string, byte[]> found, List<string> problems)
    {
        byte[] bytes = new byte[MaxFile + 1];
        int length = content.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (length > MaxFile) { problems.Add($"{name} is larger than {MaxFile / 1024} KiB: not a file of istioctl's"); }
        else if (!found.TryAdd(name, bytes[..length])) { problems.Add($"{name} is there twice"); }
    }
}
