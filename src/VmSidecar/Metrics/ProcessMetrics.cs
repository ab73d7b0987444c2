using System.Globalization;

namespace VmSidecar.Metrics;

/// <summary>The agent's own process, read from /proc at each scrape, under the names every Prometheus client uses. A value that cannot be read is left out.</summary>
internal static class ProcessMetrics
{
    private const double TicksPerSecond = 100; // USER_HZ, fixed on x64 and arm64 Linux
    private const int StatFieldsBeforeState = 2; // pid and comm are cut off before splitting (proc(5): comm may hold spaces)

    /// <summary>Adds the seven series.</summary>
    public static void Register(MetricRegistry metrics, string proc = "/proc")
    {
        metrics.ObserveCounter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", () => (Stat(proc, 14) + Stat(proc, 15)) / TicksPerSecond);
        metrics.Observe("process_open_fds", "Number of open file descriptors.", () => OpenFiles(proc));
        metrics.Observe("process_max_fds", "Maximum number of open file descriptors.", () => Limit(proc, "Max open files"));
        metrics.Observe("process_virtual_memory_bytes", "Virtual memory size in bytes.", () => Stat(proc, 23));
        metrics.Observe("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.", () => Limit(proc, "Max address space"));
        metrics.Observe("process_resident_memory_bytes", "Resident memory size in bytes.", () => Stat(proc, 24) * Environment.SystemPageSize);
        metrics.Observe("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", () => BootTime(proc) + Stat(proc, 22) / TicksPerSecond);
    }

    /// <summary>Field number as proc(5) counts, from 1.</summary>
    private static double Stat(string proc, int field)
    {
        string text = Read(Path.Combine(proc, "self/stat"));
        int afterName = text.LastIndexOf(')');
        string[] fields = afterName < 0 ? [] : text[(afterName + 2)..].Split(' ');
        int index = field - StatFieldsBeforeState - 1;
        return index < fields.Length && double.TryParse(fields[index], CultureInfo.InvariantCulture, out double value) ? value : double.NaN;
    }

    private static double Limit(string proc, string name)
    {
        string? line = Read(Path.Combine(proc, "self/limits")).Split('\n').FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal));
        string soft = line?[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault() ?? "";
        if (soft == "unlimited") { return ulong.MaxValue; }
        return double.TryParse(soft, CultureInfo.InvariantCulture, out double value) ? value : double.NaN;
    }

    private static double BootTime(string proc)
    {
        string? line = Read(Path.Combine(proc, "stat")).Split('\n').FirstOrDefault(l => l.StartsWith("btime ", StringComparison.Ordinal));
        return double.TryParse(line?["btime ".Length..], CultureInfo.InvariantCulture, out double value) ? value : double.NaN;
    }

    private static double OpenFiles(string proc)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(Path.Combine(proc, "self/fd")).Count();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return double.NaN;
        }
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
