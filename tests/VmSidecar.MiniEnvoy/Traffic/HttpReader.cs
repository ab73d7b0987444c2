using System.Globalization;
using System.Text;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Reads HTTP/1.1 messages off one side and passes bodies on as they are framed. Owns a buffer, not the stream.</summary>
internal sealed class HttpReader(Stream stream)
{
    private const int LargestHead = 64 * 1024; // Envoy's max_request_headers_kb is 60

    private byte[] _buffer = new byte[16 * 1024];
    private int _start;
    private int _end;

    /// <summary>The next head; null at the end of the stream between messages.</summary>
    public async ValueTask<HttpHead?> ReadHeadAsync(CancellationToken stop)
    {
        while (true)
        {
            ReadOnlySpan<byte> seen = _buffer.AsSpan(_start, _end - _start);
            while (seen.StartsWith("\r\n"u8)) { _start += 2; seen = seen[2..]; } // RFC 9112 §2.2
            int end = seen.IndexOf("\r\n\r\n"u8);
            if (end >= 0)
            {
                _start += end + 4;
                return HttpHead.Parse(Encoding.Latin1.GetString(seen[..end]));
            }
            if (seen.Length > LargestHead) { throw new BadMessageException("http1.headers_too_large"); }
            if (!await FillAsync(stop)) { return _start == _end ? null : throw new IOException("the peer left within a message"); }
        }
    }

    /// <summary>Passes a body on: chunked, of a length, or up to the end of the stream.</summary>
    public async Task<long> CopyBodyAsync(Stream to, bool chunked, long? length, CancellationToken stop)
    {
        if (chunked) { return await CopyChunkedAsync(to, stop); }
        return await CopyAsync(to, length ?? long.MaxValue, mayEnd: length is null, stop);
    }

    /// <summary>What was received beyond the last message: belongs to an upgraded protocol.</summary>
    public byte[] TakeRest()
    {
        byte[] rest = _buffer.AsSpan(_start, _end - _start).ToArray();
        _start = _end;
        return rest;
    }

    private async Task<long> CopyChunkedAsync(Stream to, CancellationToken stop)
    {
        long total = 0;
        while (true)
        {
            byte[] line = await ReadLineAsync(stop);
            string size = Encoding.Latin1.GetString(line).Split(';')[0].Trim();
            if (!long.TryParse(size, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long length) || length < 0) { throw new BadMessageException("http1.chunk_size"); }
            await to.WriteAsync(line, stop);
            if (length == 0) { break; }
            total += await CopyAsync(to, length + 2, mayEnd: false, stop) - 2; // with the CRLF behind it
        }
        byte[] trailer;
        do
        {
            trailer = await ReadLineAsync(stop);
            await to.WriteAsync(trailer, stop);
        }
        while (trailer.Length > 2);
        await to.FlushAsync(stop);
        return total;
    }

    private async Task<long> CopyAsync(Stream to, long length, bool mayEnd, CancellationToken stop)
    {
        long left = length;
        while (left > 0)
        {
            if (_start == _end && !await FillAsync(stop)) { return mayEnd ? length - left : throw new IOException("the peer left within a body"); }
            int count = (int)Math.Min(left, _end - _start);
            await to.WriteAsync(_buffer.AsMemory(_start, count), stop);
            _start += count;
            left -= count;
        }
        return length;
    }

    private async ValueTask<byte[]> ReadLineAsync(CancellationToken stop)
    {
        while (true)
        {
            int end = _buffer.AsSpan(_start, _end - _start).IndexOf("\r\n"u8);
            if (end >= 0)
            {
                byte[] line = _buffer.AsSpan(_start, end + 2).ToArray();
                _start += end + 2;
                return line;
            }
            if (_end - _start > LargestHead) { throw new BadMessageException("http1.line_too_long"); }
            if (!await FillAsync(stop)) { throw new IOException("the peer left within a body"); }
        }
    }

    private async ValueTask<bool> FillAsync(CancellationToken stop)
    {
        if (_start == _end) { _start = _end = 0; }
        if (_end == _buffer.Length)
        {
            byte[] larger = _start > 0 ? _buffer : new byte[_buffer.Length * 2];
            _buffer.AsSpan(_start, _end - _start).CopyTo(larger);
            (_buffer, _start, _end) = (larger, 0, _end - _start);
        }
        int read = await stream.ReadAsync(_buffer.AsMemory(_end), stop);
        _end += read;
        return read > 0;
    }
}
