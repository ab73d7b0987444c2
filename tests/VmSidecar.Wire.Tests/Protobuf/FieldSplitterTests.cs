using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Wire.Tests.Protobuf;

/// <summary>A message that comes in pieces is cut like one that is there: same fields, every byte once, the same verdict on bad input.</summary>
public sealed class FieldSplitterTests
{
    [Fact]
    public void Whatever_the_pieces_the_fields_are_those_of_the_whole_message()
    {
        for (int seed = 0; seed < 3000; seed++)
        {
            var random = new Random(seed);
            byte[] message = Message(random, depth: 0);
            var seen = new Seen();
            Assert.True(Split(message, seen, random), $"seed {seed}");
            Assert.Equal(message, seen.All);
            List<byte[]> expected = [];
            var reader = new ProtoReader(message);
            while (reader.Next())
            {
                if (reader.Type == ProtoWireType.Bytes && reader.Number % 2 == 1) { expected.Add(reader.Field.ToArray()); }
            }
            Assert.False(reader.IsMalformed);
            Assert.Equal(expected, seen.Fields);
        }
    }

    [Fact]
    public void Broken_messages_are_broken_for_both_readers()
    {
        int broken = 0;
        for (int seed = 0; seed < 20_000; seed++)
        {
            var random = new Random(seed);
            byte[] message = Message(random, depth: 0);
            if (message.Length == 0) { continue; }
            if (random.Next(3) == 0) { message = message[..random.Next(message.Length)]; }
            for (int i = random.Next(4); i > 0 && message.Length > 0; i--) { message[random.Next(message.Length)] = (byte)random.Next(256); }
            var reader = new ProtoReader(message);
            while (reader.Next()) { }
            Assert.Equal(!reader.IsMalformed, Split(message, new Seen(), random));
            broken += reader.IsMalformed ? 1 : 0;
        }
        Assert.True(broken > 2000, $"{broken} broken messages were tried");
    }

    [Fact]
    public void An_announced_length_costs_nothing_until_it_comes()
    {
        byte[] head = [0x0A, 0xFF, 0xFF, 0xFF, 0x7F]; // field 1, 268,435,455 bytes
        using var fields = new FieldSplitter(new Seen(), 300_000_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.True(fields.Feed(head));
        Assert.True(fields.Feed(new byte[1000]));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
        Assert.False(fields.IsComplete);
    }

    [Fact]
    public void A_visitor_can_refuse_a_field_and_that_is_for_good()
    {
        using var fields = new FieldSplitter(new Seen { Refuses = true }, 100);
        Assert.False(fields.Feed([0x0A, 1, 65]));
        Assert.False(fields.Feed([0x0A, 1, 65]));
        Assert.False(fields.IsComplete);
    }

    private static bool Split(byte[] message, Seen seen, Random random)
    {
        using var fields = new FieldSplitter(seen, message.Length);
        for (int at = 0; at < message.Length;)
        {
            int length = Math.Min(random.Next(1, random.Next(2, 60)), message.Length - at);
            if (!fields.Feed(message.AsSpan(at, length))) { return false; }
            at += length;
        }
        return fields.IsComplete;
    }

    private static byte[] Message(Random random, int depth)
    {
        var message = new ProtoWriter();
        for (int i = random.Next(8); i > 0; i--)
        {
            int number = random.Next(1, random.Next(2, 5000));
            switch (random.Next(5))
            {
                case 0: message.Varint(number, (ulong)random.NextInt64() >> random.Next(64)); break;
                case 1: message.Double(number, random.NextDouble()); break;
                case 2 when depth < 5: // a group
                    message.Append(Tag(number, 3)).Append(Message(random, depth + 1)).Append(Tag(number, 4));
                    break;
                default:
                    byte[] bytes = new byte[random.Next(200)];
                    random.NextBytes(bytes);
                    message.Bytes(number, bytes);
                    break;
            }
        }
        return message.ToArray();
    }

    private static byte[] Tag(int number, int type)
    {
        byte[] varint = new ProtoWriter().Varint(1, ((ulong)number << 3) | (uint)type).ToArray();
        return varint[1..];
    }

    /// <summary>Wants the odd fields.</summary>
    private sealed class Seen : IFieldVisitor
    {
        private readonly List<byte> _all = [];

        public bool Refuses { get; init; }

        public List<byte[]> Fields { get; } = [];

        public byte[] All => [.. _all];

        public bool Wants(int number) => number % 2 == 1;

        public bool Field(int number, ReadOnlySpan<byte> field, int body)
        {
            var reader = new ProtoReader(field);
            Assert.True(reader.Next() && reader.Is(number) && reader.BodyStart == body && reader.End == field.Length);
            Fields.Add(field.ToArray());
            _all.AddRange(field);
            return !Refuses;
        }

        public void Raw(ReadOnlySpan<byte> bytes) => _all.AddRange(bytes);
    }
}
