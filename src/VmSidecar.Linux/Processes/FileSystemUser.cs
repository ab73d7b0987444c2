namespace VmSidecar.Linux.Processes;

/// <summary>
/// Acts as another user in one respect: files opened and sockets made by the act are that user's, which is what owner matches of capture rules look at. The
/// ids are those of a thread (setfsuid(2)), made for the act and gone after it.
/// </summary>
internal static class FileSystemUser
{
    /// <summary>Runs <paramref name="act"/>; without the privilege to change ids it runs as the caller. What it throws, this throws.</summary>
    public static T Run<T>(uint uid, uint gid, Func<T> act)
    {
        T Acting()
        {
            _ = Libc.SetFileSystemGroup(gid);
            _ = Libc.SetFileSystemUser(uid);
            return act();
        }
        // LongRunning: a thread of its own, never one of the pool, which would keep the ids.
        return Task.Factory.StartNew(Acting, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).GetAwaiter().GetResult();
    }
}
