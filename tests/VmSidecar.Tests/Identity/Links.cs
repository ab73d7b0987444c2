using System.Runtime.InteropServices;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>rename(2) as it is: over an existing link, in one step. File.Move refuses where the link names a folder.</summary>
internal static partial class Links
{
    public static void Rename(string from, string to) => Assert.Equal(0, RenameNative(from, to));

    [DllImport("libc", EntryPoint = "rename")]
    private static extern int RenameNative([MarshalAs(UnmanagedType.LPUTF8Str)] string from, [MarshalAs(UnmanagedType.LPUTF8Str)] string to);
}
