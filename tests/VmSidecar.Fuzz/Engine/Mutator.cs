using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace VmSidecar.Fuzz.Engine;

/// <summary>
/// Makes new inputs of old ones: bits, bytes and numbers of every width and order, ranges removed, doubled, moved and spliced in from other inputs,
/// words of the format, decimal numbers, and length-prefixed wrappings (a label, a 16-bit length, a protobuf field), which keep nested structure alive.
/// </summary>
internal sealed class Mutator(Random random, int maxLength)
{
    private static readonly long[] s_edges = [0, 1, -1, 2, 7, 8, 15, 16, 63, 64, 127, 128, 192, 255, 256, 511, 512, 4095, 4096, 32767, 32768, 65535, 65536, int.MaxValue, int.MinValue, uint.MaxValue, long.MaxValue, long.MinValue];

    private readonly List<byte> _now = [];

    /// <summary>A new input made of <paramref name="parent"/>, at times with a piece of <paramref name="other"/>.</summary>
    public byte[] Mutate(byte[] parent, byte[] other, byte[][] tokens)
    {
        _now.Clear();
        _now.AddRange(parent);
        for (int steps = 1 << random.Next(4); steps > 0; steps--) { Step(other, tokens); }
        if (_now.Count > maxLength) { _now.RemoveRange(maxLength, _now.Count - maxLength); }
        return [.. _now];
    }

    private void Step(byte[] other, byte[][] tokens)
    {
        switch (random.Next(tokens.Length > 0 ? 14 : 12))
        {
            case 0: Each((at, b) => (byte)(b ^ (1 << random.Next(8)))); break;
            case 1: Each((at, b) => (byte)random.Next(256)); break;
            case 2: Each((at, b) => (byte)(b + random.Next(-8, 9))); break;
            case 3: Number(); break;
            case 4: Remove(); break;
            case 5: Insert(Range(_now)); break;
            case 6: Insert([.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => (byte)random.Next(256))]); break;
            case 7: Insert(Range(other)); break;
            case 8: Overwrite(Range(other)); break;
            case 9: Wrap(); break;
            case 10: Digits(); break;
            case 11: Cut(); break;
            case 12: Insert(tokens[random.Next(tokens.Length)]); break;
            default: Overwrite(tokens[random.Next(tokens.Length)]); break;
        }
    }

    private void Each(Func<int, byte, byte> change)
    {
        if (_now.Count == 0) { _now.Add((byte)random.Next(256)); return; }
        int at = random.Next(_now.Count);
        _now[at] = change(at, _now[at]);
    }

    private void Number()
    {
        Span<byte> bytes = stackalloc byte[8];
        long value = s_edges[random.Next(s_edges.Length)] + random.Next(-1, 2);
        int width = 1 << random.Next(4);
        if (random.Next(2) == 0) { BinaryPrimitives.WriteInt64LittleEndian(bytes, value); bytes = bytes[..width]; }
        else { BinaryPrimitives.WriteInt64BigEndian(bytes, value); bytes = bytes[^width..]; }
        Overwrite(bytes.ToArray());
    }

    private void Remove()
    {
        if (_now.Count == 0) { return; }
        int at = random.Next(_now.Count);
        _now.RemoveRange(at, Math.Min(Length(), _now.Count - at));
    }

    private void Cut()
    {
        int off = random.Next(Math.Min(16, _now.Count + 1));
        _now.RemoveRange(_now.Count - off, off);
    }

    private byte[] Range(IReadOnlyList<byte> from)
    {
        if (from.Count == 0) { return []; }
        int at = random.Next(from.Count);
        return [.. from.Skip(at).Take(Length())];
    }

    private void Insert(byte[] bytes) => _now.InsertRange(random.Next(_now.Count + 1), bytes);

    private void Overwrite(byte[] bytes)
    {
        int at = random.Next(_now.Count + 1);
        for (int i = 0; i < bytes.Length; i++)
        {
            if (at + i < _now.Count) { _now[at + i] = bytes[i]; }
            else { _now.Add(bytes[i]); }
        }
    }

    /// <summary>Puts a length in front of a range: one byte, two bytes, or a protobuf tag and a varint.</summary>
    private void Wrap()
    {
        int at = random.Next(_now.Count + 1), length = Math.Min(Length(), _now.Count - at);
        byte[] head = random.Next(3) switch
        {
            0 => [(byte)length],
            1 => [(byte)(length >> 8), (byte)length],
            _ => length < 128 ? [(byte)((random.Next(1, 16) << 3) | 2), (byte)length] : [(byte)((random.Next(1, 16) << 3) | 2), (byte)(length | 128), (byte)(length >> 7)],
        };
        _now.InsertRange(at, head);
    }

    /// <summary>Replaces a run of digits.</summary>
    private void Digits()
    {
        int at = _now.FindIndex(random.Next(_now.Count + 1), b => b is >= (byte)'0' and <= (byte)'9');
        if (at < 0) { return; }
        int end = at;
        while (end < _now.Count && _now[end] is >= (byte)'0' and <= (byte)'9') { end++; }
        _now.RemoveRange(at, end - at);
        _now.InsertRange(at, Encoding.ASCII.GetBytes(s_edges[random.Next(s_edges.Length)].ToString(CultureInfo.InvariantCulture)));
    }

    private int Length() => random.Next(4) == 0 ? random.Next(1, 257) : random.Next(1, 17);
}
