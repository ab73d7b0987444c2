using System.Globalization;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>How long the thread that made it was ready and had no processor, as the kernel counts it (/proc/thread-self/schedstat, second field): what no program can help.</summary>
internal sealed class RunDelay : IDisposable
{
    private readonly FileStream _file = new("/proc/thread-self/schedstat", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);

    /// <summary>Nanoseconds since the thread began.</summary>
    public long Read()
    {
        Span<byte> text = stackalloc byte[128];
        _file.Position = 0;
        text = text[.._file.Read(text)];
        text = text[(text.IndexOf((byte)' ') + 1)..];
        return long.Parse(text[..text.IndexOf((byte)' ')], CultureInfo.InvariantCulture);
    }

    public void Dispose() => _file.Dispose();
}
