using VmSidecar.Linux.Files;

namespace VmSidecar.Xds;

/// <summary>Which of the two protocols istiod speaks.</summary>
/// <param name="Delta">Delta, else state of the world.</param>
/// <param name="Settled">Seen on a live stream or forced by a setting; false: a guess from the last run.</param>
internal sealed record XdsMode(bool Delta, bool Settled)
{
    /// <summary>The word kept on disk and shown in status.</summary>
    public string Word => Delta ? "delta" : "sotw";

    /// <summary>What the last run saw, else delta: current istiods speak it, and one that does not says so.</summary>
    public static XdsMode Load(string stateDirectory)
    {
        try
        {
            return new XdsMode(File.ReadAllText(FileIn(stateDirectory)).Trim() != "sotw", Settled: false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new XdsMode(Delta: true, Settled: false);
        }
    }

    /// <summary>Keeps the mode for the next start. False when the folder cannot be written: the next start guesses.</summary>
    public async Task<bool> TrySaveAsync(string stateDirectory, CancellationToken stop)
    {
        try
        {
            await AtomicFile.WriteAsync(FileIn(stateDirectory), System.Text.Encoding.ASCII.GetBytes(Word + "\n"), UnixFileMode.UserRead | UnixFileMode.UserWrite, stop);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string FileIn(string stateDirectory) => Path.Combine(stateDirectory, "xds-mode");
}
