using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Files;

/// <summary>Links on the way to a file, by which whoever owns a folder on that way could send a privileged writer elsewhere.</summary>
internal static unsafe partial class FolderLinks
{
    private const int CurrentFolder = -100, NoFollow = 0x100, Size = 256, UserAt = 20; // AT_FDCWD, AT_SYMLINK_NOFOLLOW, struct statx, stx_uid
    private const uint UserWanted = 8; // STATX_UID
    private const int Longest = 40;    // links in a row, as the kernel has it

    /// <summary>The first link on the way to <paramref name="path"/> (its last name not counted) that is not root's; null: there is none.</summary>
    /// <param name="path">Absolute.</param>
    /// <param name="known">Links that are meant, whoever's they are: from and to.</param>
    public static string? Foreign(string path, params (string From, string To)[] known)
    {
        string way = "/";
        var names = new Stack<string>(Enumerable.Reverse(Path.GetDirectoryName(path)!.Split('/', StringSplitOptions.RemoveEmptyEntries)));
        for (int links = 0; names.TryPop(out string? name);)
        {
            string next = Path.GetFullPath(Path.Combine(way, name));
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                way = next;
                continue;
            }
            if (++links > Longest || (OwnerOf(next) != 0 && !known.Contains((next, target)))) { return next; }
            if (target.StartsWith('/')) { way = "/"; }
            foreach (string part in Enumerable.Reverse(target.Split('/', StringSplitOptions.RemoveEmptyEntries))) { names.Push(part); }
        }
        return null;
    }

    /// <summary>User id of a file or of a link itself; null: cannot be told.</summary>
    private static uint? OwnerOf(string path)
    {
        byte* answer = stackalloc byte[Size];
        return Look(CurrentFolder, path, NoFollow, UserWanted, answer) == 0 ? *(uint*)(answer + UserAt) : null;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Look(int folder, string path, int flags, uint mask, byte* answer);
}
