using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Grpc;

/// <summary>
/// Connects to one of several addresses of a name (RFC 8305 §4 and §5): families take turns, the next address is tried when the one before has failed or has
/// not answered for a moment, the first that answers wins and the others are given up. An address that swallows everything costs a moment, not the whole time to connect.
/// </summary>
internal static class StaggeredDial
{
    /// <summary>How long an address may be silent before the next is tried beside it: RFC 8305 §8, "Connection Attempt Delay".</summary>
    public static readonly TimeSpan Step = TimeSpan.FromMilliseconds(250);

    /// <summary>The addresses with their families taking turns, each family in the resolver's order, the resolver's first choice first.</summary>
    public static IReadOnlyList<IPAddress> Interleave(IReadOnlyList<IPAddress> addresses)
    {
        if (addresses.Count == 0) { return addresses; }
        AddressFamily preferred = addresses[0].AddressFamily;
        List<IPAddress> first = [.. addresses.Where(a => a.AddressFamily == preferred)], other = [.. addresses.Where(a => a.AddressFamily != preferred)];
        List<IPAddress> mixed = [];
        for (int i = 0; i < Math.Max(first.Count, other.Count); i++)
        {
            if (i < first.Count) { mixed.Add(first[i]); }
            if (i < other.Count) { mixed.Add(other[i]); }
        }
        return mixed;
    }

    /// <summary>The first connection made. Throws the <see cref="SocketException"/> of the address that failed last when all have failed.</summary>
    public static async Task<T> ConnectAsync<T>(IReadOnlyList<IPAddress> addresses, Func<IPAddress, CancellationToken, Task<T>> dial, TimeProvider time, CancellationToken stop)
        where T : class, IDisposable
    {
        using var rest = CancellationTokenSource.CreateLinkedTokenSource(stop);
        List<Task<T>> running = [];
        T? winner = null;
        SocketException failed = new((int)SocketError.HostNotFound); // a name without addresses
        try
        {
            for (int next = 0; next < addresses.Count || running.Count > 0;)
            {
                if (next < addresses.Count) { running.Add(dial(addresses[next++], rest.Token)); }
                await AnyAsync(running, next < addresses.Count ? Step : Timeout.InfiniteTimeSpan, time, stop);
                foreach (Task<T> ended in running.Where(t => t.IsCompleted).ToList())
                {
                    try { winner = await ended; }
                    catch (SocketException e) { failed = e; }
                    running.Remove(ended);
                    if (winner is not null) { return winner; }
                }
            }
            throw failed;
        }
        finally
        {
            await rest.CancelAsync();
            foreach (Task<T> late in running) { await GiveUpAsync(late); }
        }
    }

    private static async Task AnyAsync<T>(List<Task<T>> running, TimeSpan atMost, TimeProvider time, CancellationToken stop)
    {
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAny([.. running, Task.Delay(atMost, time, timer.Token)]);
        await timer.CancelAsync();
        stop.ThrowIfCancellationRequested();
    }

    private static async Task GiveUpAsync<T>(Task<T> late) where T : class, IDisposable
    {
        try { (await late).Dispose(); }
        catch (Exception e) when (e is SocketException or OperationCanceledException) { } // nobody waits for it any more
    }
}
