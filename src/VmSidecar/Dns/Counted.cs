namespace VmSidecar.Dns;

/// <summary>
/// Something whose memory is freed when the last who uses it leaves. Begins with one user, its maker. Entering and leaving is one atomic step each: no lock,
/// no allocation, and nobody waits for anybody. Once the last has left nobody can enter any more.
/// </summary>
internal abstract class Counted
{
    private int _users = 1;

    /// <summary>One user more; false when it is freed already, and something newer has taken its place.</summary>
    public bool TryEnter()
    {
        int users = Volatile.Read(ref _users);
        while (users > 0)
        {
            int seen = Interlocked.CompareExchange(ref _users, users + 1, users);
            if (seen == users) { return true; }
            users = seen;
        }
        return false;
    }

    /// <summary>One user less; the last one frees.</summary>
    public void Leave()
    {
        if (Interlocked.Decrement(ref _users) == 0) { Free(); }
    }

    /// <summary>The same for one who has no time: giving megabytes back takes a millisecond, so another thread does it.</summary>
    public void LeaveQuickly()
    {
        if (Interlocked.Decrement(ref _users) == 0) { ThreadPool.UnsafeQueueUserWorkItem(static last => last.Free(), this, preferLocal: false); }
    }

    /// <summary>Called once, when nobody uses it any more.</summary>
    protected abstract void Free();
}
