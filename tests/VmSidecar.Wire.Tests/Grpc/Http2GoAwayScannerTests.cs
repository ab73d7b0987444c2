using VmSidecar.Wire.Grpc;

using Xunit;

namespace VmSidecar.Wire.Tests.Grpc;

public sealed class Http2GoAwayScannerTests
{
    // SETTINGS (6 bytes), DATA of 300 bytes that look like GOAWAY frames, PING, GOAWAY with debug text, WINDOW_UPDATE
    private static byte[] Bytes(byte code, bool withGoAway = true) =>
    [
        .. Frame(4, new byte[6]),
        .. Frame(0, [.. Enumerable.Repeat(Frame(7, new byte[8]), 20).SelectMany(f => f)]),
        .. Frame(6, new byte[8]),
        .. withGoAway ? Frame(7, [0, 0, 0, 1, 0, 0, 0, code, (byte)'b', (byte)'y', (byte)'e']) : [],
        .. Frame(8, new byte[4]),
    ];

    private static byte[] Frame(byte type, byte[] payload) => [(byte)(payload.Length >> 16), (byte)(payload.Length >> 8), (byte)payload.Length, type, 0, 0, 0, 0, 1, .. payload];

    [Fact]
    public void A_reset_stream_is_seen_and_nothing_else_is_taken_for_one()
    {
        var scanner = new Http2GoAwayScanner();
        scanner.Feed(Bytes(0));
        Assert.Equal(-1, scanner.Reset);
        scanner.Feed(Frame(0, [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]));
        Assert.Equal(-1, scanner.Reset);
        foreach (byte b in Frame(3, [0, 0, 0, 7])) { scanner.Feed([b]); }
        Assert.Equal(7, scanner.Reset);
        scanner.Feed([.. Frame(3, [0xFF, 0xFF, 0xFF, 0xFF]), .. Frame(7, [0, 0, 0, 1, 0, 0, 0, 11])]);
        Assert.Equal(uint.MaxValue, scanner.Reset);
        Assert.Equal(11, scanner.Code); // and what follows is found
    }

    [Theory]
    [InlineData(0)]
    [InlineData(11)]
    public void The_goodbye_is_found_however_the_bytes_are_cut(byte code)
    {
        byte[] bytes = Bytes(code);
        var random = new Random(code);
        for (int round = 0; round < 500; round++)
        {
            var scanner = new Http2GoAwayScanner();
            int most = random.Next(1, 40);
            for (int at = 0; at < bytes.Length;)
            {
                int length = Math.Min(random.Next(0, most + 1), bytes.Length - at);
                scanner.Feed(bytes.AsSpan(at, length));
                at += length;
            }
            Assert.Equal(code, scanner.Code);
            Assert.Equal(code == 0, scanner.Leaving.IsCompleted);
        }
    }

    [Fact]
    public void Payload_that_looks_like_a_goodbye_is_not_one()
    {
        var scanner = new Http2GoAwayScanner();
        scanner.Feed(Bytes(0, withGoAway: false));
        Assert.Equal(-1, scanner.Code);
    }

    [Fact]
    public void The_last_of_two_counts_and_large_codes_do_not_overflow()
    {
        var scanner = new Http2GoAwayScanner();
        scanner.Feed([.. Frame(7, [0, 0, 0, 1, 0, 0, 0, 0]), .. Frame(7, [0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF])]);
        Assert.Equal(int.MaxValue, scanner.Code);
    }

    [Fact]
    public void No_bytes_make_it_fail()
    {
        var random = new Random(4);
        byte[] noise = new byte[4096];
        for (int round = 0; round < 200; round++)
        {
            random.NextBytes(noise);
            var scanner = new Http2GoAwayScanner();
            scanner.Feed(noise);
            Assert.True(scanner.Code >= -1);
        }
    }
}
