using Microsoft.Extensions.Logging;

namespace VmSidecar.Health;

/// <summary>
/// An empty file in the state folder while istiod was told that the workload is healthy. A start that finds it follows a crash: istiod may still send connections
/// here (a WorkloadEntry outlives its stream by ten seconds, its condition with it), so silence is not harmless. Writer: the health checker; nobody waits for the disk.
/// </summary>
/// <param name="stateDirectory">Need not exist.</param>
/// <param name="log">Told at debug level where the file cannot be written.</param>
internal sealed partial class HealthMarker(string stateDirectory, ILogger log)
{
    private readonly string _path = Path.Combine(stateDirectory, "healthy");

    /// <summary>True when the agent before this one ended while healthy was told.</summary>
    public bool IsThere => File.Exists(_path);

    /// <summary>Ends when the disk has what was set last; never faults.</summary>
    public Task Written { get; private set; } = Task.CompletedTask;

    /// <summary>This is told now.</summary>
    public void Set(bool healthy) => Written = SetAsync(Written, healthy);

    private async Task SetAsync(Task before, bool healthy)
    {
        await Task.Yield();
        await before;
        try
        {
            if (!healthy)
            {
                File.Delete(_path); // a missing file is no error
                return;
            }
            Directory.CreateDirectory(stateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await File.WriteAllBytesAsync(_path, ReadOnlyMemory<byte>.Empty);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            CannotNote(log, _path, e.Message);
        }
    }

    [LoggerMessage(7, LogLevel.Debug, "cannot note the health told in {Path}: {Reason}")]
    private static partial void CannotNote(ILogger log, string path, string reason);
}
