using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;

namespace VmSidecar.Iptables;

/// <summary>
/// Looks at the rules and at Envoy in turn, and says once when either changes: rules that others flushed or changed, an Envoy that is gone. Repairs and
/// lifts only where asked to; <see cref="CaptureWatchPolicy"/> decides, this acts. Runs privileged, apart from the daemon.
/// </summary>
internal sealed class CaptureWatch(IptablesRunner runner, Func<CaptureOptions> read, CaptureWatchOptions watch, TimeProvider time, ILogger log)
{
    /// <summary>Whether somebody accepts on the outbound port; a seam for tests.</summary>
    public Func<CancellationToken, Task<bool>>? IsServed { get; init; }

    /// <summary>Until <paramref name="stop"/>.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        var policy = new CaptureWatchPolicy(watch);
        try
        {
            while (true) // ends by cancellation only
            {
                await LookAsync(policy, stop).ConfigureAwait(false);
                await Task.Delay(watch.Interval, time, stop).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // asked to end
        }
    }

    private async Task LookAsync(CaptureWatchPolicy policy, CancellationToken stop)
    {
        try
        {
            CaptureOptions options = read(); // anew each time: resolv.conf may name others by now
            bool served = await (IsServed is null ? ConnectAsync(options.ProxyPort, stop) : IsServed(stop)).ConfigureAwait(false);
            ImmutableArray<(IpFamily Family, TableDiff Diff)> drift = (await runner.DiffAsync(options, stop).ConfigureAwait(false)).Tables;
            CaptureAct act = policy.Decide(!drift.IsEmpty, served, time.GetUtcNow());
            switch (act)
            {
                case CaptureAct.Alarm:
                    CaptureLog.Drifted(log, string.Join("; ", drift.Select(d => d.Diff.ToString().ReplaceLineEndings(" "))));
                    break;
                case CaptureAct.Repair:
                    SayRepair(policy.Repairs, string.Join("; ", drift.Select(d => d.Diff.ToString().ReplaceLineEndings(" "))));
                    await runner.ApplyAsync(options, stop).ConfigureAwait(false);
                    break;
                case CaptureAct.Lift:
                    if (!policy.IsAgain) { CaptureLog.Lifting(log, watch.DeadLimit); }
                    await runner.CleanAsync(stop).ConfigureAwait(false);
                    break;
                case CaptureAct.Restore:
                    if (!policy.IsAgain) { CaptureLog.Restoring(log); }
                    await runner.ApplyAsync(options, stop).ConfigureAwait(false);
                    break;
                case CaptureAct.Settled:
                    CaptureLog.Settled(log);
                    break;
                default:
                    break;
            }
            policy.Done();
        }
        catch (FatalException e)
        {
            if (policy.IsNewTrouble(e.Message)) { CaptureLog.Failed(log, e.Message); }
        }
    }

    /// <summary>Somebody who undoes every repair is named ever more rarely: at the 2nd, 4th, 8th … look in a row.</summary>
    private void SayRepair(int inARow, string difference)
    {
        if (inARow == 1) { CaptureLog.Repairing(log, difference); }
        else if (int.IsPow2(inARow)) { CaptureLog.Undone(log, inARow - 1, difference); }
    }

    private async Task<bool> ConnectAsync(ushort port, CancellationToken stop)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(2), time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
        try
        {
            await socket.ConnectAsync(new IPEndPoint(IPAddress.Loopback, port), both.Token).ConfigureAwait(false);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return false;
        }
    }
}

/// <summary>The lines of <see cref="CaptureWatch"/>.</summary>
internal static partial class CaptureLog
{
    [LoggerMessage(1, LogLevel.Warning, "capture rules have been changed by others: {Difference}. Run 'vmsidecar iptables apply' to put them right")]
    public static partial void Drifted(ILogger log, string difference);

    [LoggerMessage(2, LogLevel.Warning, "capture rules have been changed by others, putting them right: {Difference}")]
    public static partial void Repairing(ILogger log, string difference);

    [LoggerMessage(12, LogLevel.Warning, "another program has undone the repair of the capture rules {Times} times in a row, putting them right again: {Difference}. Keep it from changing them")]
    public static partial void Undone(ILogger log, int times, string difference);

    [LoggerMessage(3, LogLevel.Error, "Envoy has been gone for {Limit} and failure-mode is open: LIFTING capture, traffic now leaves this host outside the mesh")]
    public static partial void Lifting(ILogger log, TimeSpan limit);

    [LoggerMessage(4, LogLevel.Warning, "Envoy is back: capture rules go on again")]
    public static partial void Restoring(ILogger log);

    [LoggerMessage(5, LogLevel.Information, "capture rules are as they should be again")]
    public static partial void Settled(ILogger log);

    [LoggerMessage(7, LogLevel.Information, "capture rules are in place")]
    public static partial void PutOn(ILogger log);

    [LoggerMessage(8, LogLevel.Information, "capture rules are removed")]
    public static partial void TakenOff(ILogger log);

    [LoggerMessage(9, LogLevel.Error, "capture rules could not be removed: {Problem}. Run 'vmsidecar iptables clean'")]
    public static partial void Left(ILogger log, string problem);

    [LoggerMessage(10, LogLevel.Information, "ISTIO_CUSTOM_IP_TABLES=true: the capture rules are the operator's")]
    public static partial void Custom(ILogger log);

    [LoggerMessage(11, LogLevel.Warning, "{Advice}")]
    public static partial void Advice(ILogger log, string advice);

    [LoggerMessage(6, LogLevel.Error, "cannot look after the capture rules: {Problem}")]
    public static partial void Failed(ILogger log, string problem);
}
