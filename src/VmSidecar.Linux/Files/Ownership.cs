using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Files;

/// <summary>Owner and group of files (chown(2)).</summary>
internal static partial class Ownership
{
    /// <summary>Gives a file or folder away; a symbolic link itself, not what it points to. Throws IOException with errno when the kernel refuses.</summary>
    public static void Give(string path, uint user, uint group)
    {
        if (LChown(path, user, group) != 0) { throw new IOException($"{path}: cannot change its owner (errno {Marshal.GetLastPInvokeError()})"); }
    }

    [LibraryImport("libc", EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int LChown(string path, uint user, uint group);
}
