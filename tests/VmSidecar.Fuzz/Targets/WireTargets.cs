using VmSidecar.Fuzz.Engine;
using VmSidecar.Grpc;
using VmSidecar.Wire.Grpc;

namespace VmSidecar.Fuzz.Targets;

/// <summary>gRPC as it comes from istiod, Envoy and other clients.</summary>
internal static class WireTargets
{
    private const int MaxMessage = 1 << 20;

    public static IEnumerable<FuzzTarget> All { get; } =
    [
        new("grpc-frames", Frames, () => [[0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 16, 0, 1]], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]),
        new("grpc-text", Texts, FuzzTargets.Seeds("10S", "99999999H", "100n", "bad%20token%E2%82%AC", "14", "%"), FuzzTargets.Words("%41", "%E2", "m", "u", "H")),
        new("http2-goaway", GoAway, () => [[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], [0, 0, 1, 0, 0, 0, 0, 0, 1, 42, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]], [0, 0, 8, 7], [0, 0, 0, 7]),
    ];

    private static void Frames(byte[] input)
    {
        using var source = new Dribble(input, 1 + input.Length % 7);
        using var reader = new GrpcFrameReader(source, MaxMessage, GrpcStatusCode.Internal, encoding: null);
        int taken = 0;
        try
        {
            while (reader.ReadAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult() is { } message)
            {
                FuzzTarget.Require(input.AsSpan(taken + GrpcFrame.PrefixLength, message.Body.Length).SequenceEqual(message.Body.Span), "messages are what was sent");
                taken += GrpcFrame.PrefixLength + message.Body.Length;
                message.Dispose();
            }
            FuzzTarget.Require(taken == input.Length, "an end between messages is an end");
        }
        catch (GrpcException) { } // the refusal this reader may give
    }

    private static void Texts(byte[] input)
    {
        string text = FuzzTargets.Text(input);
        if (GrpcTimeout.TryParse(text, out TimeSpan timeout))
        {
            FuzzTarget.Require(timeout >= TimeSpan.Zero, "a timeout is not negative");
            FuzzTarget.Require(GrpcTimeout.TryParse(GrpcTimeout.Format(timeout), out TimeSpan again) && again >= timeout, "a timeout survives its text, rounded up");
        }
        GrpcText.Decode(text);
        FuzzTarget.Require(GrpcText.Decode(GrpcText.Encode(text)) == text, "a message survives percent-encoding");
        GrpcMetadata.ReadStatus(text, text);
        GrpcMetadata.IsGrpc(text);
    }

    private static void GoAway(byte[] input)
    {
        var whole = new Http2GoAwayScanner();
        var pieces = new Http2GoAwayScanner();
        whole.Feed(input);
        for (int at = 0, step = 1; at < input.Length; at += step, step = 1 + (step + at) % 5) { pieces.Feed(input.AsSpan(at, Math.Min(step, input.Length - at))); }
        FuzzTarget.Require(whole.Code == pieces.Code, "pieces say the same as the whole");
    }

    /// <summary>Gives a few bytes at a time.</summary>
    private sealed class Dribble(byte[] bytes, int step) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            new(Read(buffer.Span[..Math.Min(step, buffer.Length)]));
    }
}
