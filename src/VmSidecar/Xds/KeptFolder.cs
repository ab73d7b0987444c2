using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The files of a <see cref="ResourceKeeper"/>.</summary>
internal static class KeptFolder
{
    /// <summary>The journal of a type.</summary>
    public static string FileOf(string folder, string typeUrl) => Path.Combine(folder, XdsTypeUrl.Label(typeUrl) + ".journal");

    /// <summary>What is on disk now, by type, for the debug pages. While a journal is written its last record may be missing; what cannot be read is left out.</summary>
    public static IReadOnlyDictionary<string, KeptResources> Peek(string folder, IEnumerable<string> types)
    {
        Dictionary<string, KeptResources> all = new(StringComparer.Ordinal);
        foreach (string type in types)
        {
            string file = FileOf(folder, type);
            try
            {
                if (File.Exists(file) && KeptResources.Read(type, File.ReadAllBytes(file), out KeptResources kept) != JournalEnd.Damaged) { all[type] = kept; }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue; // compacted or deleted meanwhile
            }
        }
        return all;
    }
}
