using System.Buffers.Binary;
using System.Collections.Concurrent;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>How a lookup in the cache ended.</summary>
internal enum CacheHit : byte
{
    Miss,
    Fresh,

    /// <summary>Fresh, often asked and soon to expire: the caller asks upstream once so that nobody has to wait.</summary>
    FreshButDue,
}

/// <summary>
/// Upstream's answers by question, for as long as they say, and after that as a last resort (RFC 8767). Bounded by entries and bytes: a full
/// cache drops what expired, then what was not asked since the last time. Lookups take no lock and allocate nothing. Thread-safe.
/// </summary>
internal sealed class ReplyCache(TimeProvider time, int maxEntries = ReplyCache.DefaultEntries, long maxBytes = ReplyCache.DefaultBytes)
{
    public const int DefaultEntries = 10_000;
    public const long DefaultBytes = 8 << 20;
    private const int Overhead = 200;   // bytes an entry costs beside its message
    private const uint StaleTtl = 30;   // seconds, RFC 8767 §4
    private const int HotHits = 3;      // asked this often within one life: worth asking ahead
    private static readonly TimeSpan MaxStale = TimeSpan.FromDays(1);

    private readonly ConcurrentDictionary<byte[], Entry> _entries = new(WireNameComparer.Instance);
    private readonly Lock _sweeping = new();
    private long _bytes;
    private int _generation;
    private int _count; // the dictionary's own Count takes all of its locks

    public int Count => Volatile.Read(ref _count);

    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Another number after each <see cref="Clear"/>: whoever asks upstream takes it first, and what comes is kept only under the same.</summary>
    public int Generation => Volatile.Read(ref _generation);

    /// <summary>Copies a fresh answer, its TTLs counted down, for this client.</summary>
    public CacheHit TryAnswer(ReadOnlySpan<byte> packet, DnsQuery query, Span<byte> reply, out int length)
    {
        Span<byte> key = stackalloc byte[QuestionKey.MaxLength];
        int keyLength = QuestionKey.Write(packet, query, tcp: false, key);
        length = 0;
        if (keyLength == 0 || !_entries.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(key[..keyLength], out Entry? entry)) { return CacheHit.Miss; }
        long age = (long)time.GetElapsedTime(entry.Stored).TotalSeconds;
        if (age >= entry.Lifetime || entry.Message.Length > reply.Length) { return CacheHit.Miss; }
        entry.CopyTo(reply, (uint)age);
        length = entry.Message.Length;
        DnsReply.Readdress(reply[..length], packet, query.Question);
        bool due = entry.Touch() >= HotHits && age >= entry.Lifetime - entry.Lifetime / 10 - 1 && entry.TryClaim();
        return due ? CacheHit.FreshButDue : CacheHit.Fresh;
    }

    /// <summary>Whether a fresh answer is held. Only looks: it does not count as asked, and takes from nobody the turn to ask ahead.</summary>
    public bool IsFresh(ReadOnlySpan<byte> packet, DnsQuery query)
    {
        Span<byte> key = stackalloc byte[QuestionKey.MaxLength];
        int keyLength = QuestionKey.Write(packet, query, tcp: false, key);
        return keyLength > 0 && _entries.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(key[..keyLength], out Entry? entry)
            && (long)time.GetElapsedTime(entry.Stored).TotalSeconds < entry.Lifetime;
    }

    /// <summary>The expired answer for a question whose servers fail, with a short TTL; null when there is none or it is too old.</summary>
    public byte[]? FindStale(byte[] key)
    {
        if (!_entries.TryGetValue(key, out Entry? entry)) { return null; }
        if (time.GetElapsedTime(entry.Stored) > MaxStale + TimeSpan.FromSeconds(entry.Lifetime)) { return null; }
        return entry.ToStale(StaleTtl);
    }

    /// <summary>Remembers an answer if it may be, to a question of this <paramref name="generation"/>.</summary>
    public void Store(byte[] key, byte[] message, bool fromLocal, int generation)
    {
        uint lifetime = generation == Generation ? CachePolicy.Lifetime(message, fromLocal) : 0;
        if (lifetime == 0 || !CachePolicy.TryFindTtls(message, out ushort[] ttls)) { return; }
        var entry = new Entry(message, ttls, lifetime, time.GetTimestamp());
        long size = entry.Size + key.Length;
        while (true)
        {
            if (_entries.TryGetValue(key, out Entry? old))
            {
                if (!_entries.TryUpdate(key, entry, old)) { continue; }
                size -= old.Size + key.Length;
                break;
            }
            if (_entries.TryAdd(key, entry)) { Interlocked.Increment(ref _count); break; }
        }
        Interlocked.Add(ref _bytes, size);
        if (generation != Generation) { TryDrop(key, entry); return; } // seen after the entry is there: a Clear that begins later finds it
        if ((Bytes > maxBytes || Count > maxEntries) && _sweeping.TryEnter()) // whoever comes meanwhile leaves it to the one at work
        {
            try { Sweep(); }
            finally { _sweeping.Exit(); }
        }
    }

    /// <summary>Forgets everything: another network may give other answers.</summary>
    public void Clear()
    {
        Interlocked.Increment(ref _generation);
        lock (_sweeping)
        {
            foreach ((byte[] key, Entry entry) in _entries) { TryDrop(key, entry); }
        }
    }

    /// <summary>Makes a tenth of room. Round 1: too old even as a last resort, or not asked since the last sweep; 2: any. One caller at a time.</summary>
    private void Sweep()
    {
        int entries = maxEntries * 9 / 10;
        long bytes = maxBytes * 9 / 10, now = time.GetTimestamp();
        for (int round = 1; round <= 2; round++)
        {
            foreach ((byte[] key, Entry entry) in _entries)
            {
                if (Count <= entries && Bytes <= bytes) { return; }
                bool drop = round == 2 || !entry.TakeUsed() || time.GetElapsedTime(entry.Stored, now) > MaxStale + TimeSpan.FromSeconds(entry.Lifetime);
                if (drop) { TryDrop(key, entry); }
            }
        }
    }

    private void TryDrop(byte[] key, Entry entry)
    {
        if (!_entries.TryRemove(new(key, entry))) { return; }
        Interlocked.Decrement(ref _count);
        Interlocked.Add(ref _bytes, -(entry.Size + key.Length));
    }

    /// <summary>One answer. The message is shared and never written to.</summary>
    private sealed class Entry(byte[] message, ushort[] ttls, uint lifetime, long stored)
    {
        private int _hits;
        private int _claimed;
        private bool _used;

        public byte[] Message => message;

        public uint Lifetime => lifetime;

        public long Stored => stored;

        public long Size => message.Length + 2 * ttls.Length + Overhead;

        public int Touch()
        {
            _used = true;
            return Interlocked.Increment(ref _hits);
        }

        public bool TakeUsed()
        {
            bool used = _used;
            _used = false;
            return used;
        }

        /// <summary>True for the one caller that refreshes the entry.</summary>
        public bool TryClaim() => Interlocked.Exchange(ref _claimed, 1) == 0;

        public void CopyTo(Span<byte> reply, uint age)
        {
            message.CopyTo(reply);
            foreach (ushort at in ttls)
            {
                uint ttl = Math.Min(CachePolicy.Sane(BinaryPrimitives.ReadUInt32BigEndian(message.AsSpan(at))), int.MaxValue);
                BinaryPrimitives.WriteUInt32BigEndian(reply[at..], ttl > age ? ttl - age : 0);
            }
        }

        public byte[] ToStale(uint ttl)
        {
            byte[] stale = (byte[])message.Clone();
            foreach (ushort at in ttls) { BinaryPrimitives.WriteUInt32BigEndian(stale.AsSpan(at), ttl); }
            return stale;
        }
    }
}
