using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>Traffic between two VMs whose data planes take everything over SDS, while certificates and roots change beneath it.</summary>
public sealed class RotationUnderLoadTests
{
    private static readonly TimeSpan s_later = TimeSpan.FromHours(13);

    private readonly ManualTimeProvider _time = new(TimeProvider.System.GetUtcNow()); // the data plane judges by the real clock

    [Fact]
    public async Task Twenty_rotations_under_load_drop_no_connection()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using TlsVm client = await TlsVm.StartAsync(istiod, _time.GetUtcNow(), "caller"), server = await TlsVm.StartAsync(istiod, _time.GetUtcNow(), "called");
        await using var traffic = new TlsTraffic(client.Tls, server.Tls);
        await traffic.MeetsAsync(server.Presented);
        HashSet<string> presented = [server.Presented];
        for (int rotation = 0; rotation < 20 && traffic.Failures.IsEmpty; rotation++)
        {
            await RenewAsync(client, server);
            Assert.True(presented.Add(server.Presented));
            long kept = traffic.Kept;
            await traffic.MeetsAsync(server.Presented);
            Assert.True(traffic.Kept >= kept);
        }
        Assert.Empty(traffic.Failures);
        Assert.Equal(21, presented.Count);
    }

    [Fact]
    public async Task A_root_rollover_under_load_refuses_nobody()
    {
        await using FakeIstiod istiod = await StartAsync();
        FakeCa ca = istiod.CertificateAuthority;
        await using TlsVm client = await TlsVm.StartAsync(istiod, _time.GetUtcNow(), "caller"), server = await TlsVm.StartAsync(istiod, _time.GetUtcNow(), "called");
        await using var traffic = new TlsTraffic(client.Tls, server.Tls);
        await traffic.MeetsAsync(server.Presented);
        ca.AnnounceRoot(); // 1. the new root is in the bundle, the old one signs
        await RenewAsync(client, server);
        await client.UntilAsync(v => v.Roots == 2);
        await server.UntilAsync(v => v.Roots == 2);
        await traffic.MeetsAsync(server.Presented);
        ca.RotateRoot(keepOld: true); // 2. the new root signs, workloads and istiod itself; the old one is still trusted
        istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        await RenewAsync(client, server);
        await traffic.MeetsAsync(server.Presented);
        ca.DropOldRoots(); // 3. the old one goes
        await RenewAsync(client, server);
        await client.UntilAsync(v => v.Roots == 1);
        await server.UntilAsync(v => v.Roots == 1);
        await traffic.MeetsAsync(server.Presented);
        Assert.Empty(traffic.Failures);
        await RenewAsync(client, server); // istiod itself is still trusted
    }

    private async Task<FakeIstiod> StartAsync()
    {
        FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Time = _time });
        istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        // Backdated so far that certificates of the moved clock are good by the real one, which the data plane goes by.
        istiod.CertificateAuthority.Options = istiod.CertificateAuthority.Options with { BackDate = TimeSpan.FromDays(25) };
        return istiod;
    }

    /// <summary>Thirteen hours pass at once: both ask for a new leaf when they wake, and SDS brings it to both data planes.</summary>
    private async Task RenewAsync(TlsVm client, TlsVm server)
    {
        TlsVm[] both = [client, server];
        _time.Jump(s_later);
        await Task.WhenAll(both.Select(WakeAsync));
        foreach (TlsVm vm in both) { await vm.UntilAsync(v => v.Presented == v.Secrets.Current!.Serial); }
    }

    /// <summary>On a clock of its own, and only while its rotator sleeps: time that passed during a request would be its deadline.</summary>
    private static async Task WakeAsync(TlsVm vm)
    {
        string old = vm.Secrets.Current!.Serial;
        vm.Time.Jump(s_later);
        while (true)
        {
            (WorkloadSecrets? now, Task changed) = vm.Secrets.Watch();
            if (now!.Serial != old) { return; }
            Task asleep = vm.Time.PendingAsync(RotationPolicy.LongestSleep, Test.Deadline);
            if (await Task.WhenAny(changed, asleep) == changed) { continue; }
            await asleep;
            vm.Time.Advance(RotationPolicy.LongestSleep);
        }
    }
}
