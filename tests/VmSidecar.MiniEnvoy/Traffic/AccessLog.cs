using System.Globalization;

using VmSidecar.EnvoyApi.AccessLogs;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Access lines on standard output, where LDS asks for /dev/stdout, in the order of Istio's default format. Thread-safe.</summary>
internal sealed class AccessLog(TextWriter output)
{
    private readonly Lock _gate = new();

    public void Write(IEnumerable<EnvoyApi.AccessLogs.AccessLog> logs, FormattableString line)
    {
        if (!logs.Any(l => l.TypedConfig?.Is(FileAccessLog.Descriptor) == true && l.TypedConfig.Unpack<FileAccessLog>().Path == "/dev/stdout")) { return; }
        string text = string.Create(CultureInfo.InvariantCulture, $"[{TimeProvider.System.GetUtcNow():yyyy-MM-dd'T'HH:mm:ss.fff'Z'}] ") + line.ToString(CultureInfo.InvariantCulture);
        lock (_gate)
        {
            output.WriteLine(text);
            output.Flush();
        }
    }
}
