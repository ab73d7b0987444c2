using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Files;

/// <summary>Makes a rename in a folder durable. .NET has no call for it.</summary>
internal static partial class FolderSync
{
    private const int ReadOnlyDirectoryCloseOnExec = 0x10000 | 0x80000; // O_RDONLY | O_DIRECTORY | O_CLOEXEC on x64; arm64 differs in O_DIRECTORY only

    private const int ReadOnlyDirectoryCloseOnExecArm = 0x4000 | 0x80000;

    /// <summary>Best effort: some file systems refuse fsync on folders, and the content itself is already on disk.</summary>
    public static void Flush(string folder)
    {
        int flags = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? ReadOnlyDirectoryCloseOnExecArm : ReadOnlyDirectoryCloseOnExec;
        int handle = Open(folder, flags);
        if (handle < 0) { return; }
        _ = Fsync(handle);
        _ = Close(handle);
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Fsync(int handle);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int handle);
}
