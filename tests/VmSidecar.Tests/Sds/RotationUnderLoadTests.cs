using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>Traffic between two VMs whose data planes take everything over SDS, while certificates and roots change beneath it.</summary>
public sealed class RotationUnderLoadTests
{
    private readonly ManualTimeProvider _time = new(TimeProvider.System.GetUtcNow()); // the data plane judges by the real clock

    private Task? _armed;

    [Fact]
    public async Task Twenty_rotations_under_load_drop_no_connection()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using TlsVm client = await TlsVm.StartAsync(istiod, _time, "caller"), server = await TlsVm.StartAsync(istiod, _time, "called");
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
        await using TlsVm client = await TlsVm.StartAsync(istiod, _time, "caller"), server = await TlsVm.StartAsync(istiod, _time, "called");
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
        string[] old = [.. both.Select(v => v.Secrets.Current!.Serial)];
        _time.Jump(TimeSpan.FromHours(13));
        while (both.Zip(old).Any(v => v.First.Secrets.Current!.Serial == v.Second))
        {
            Task changed = Task.WhenAny(both.Select(v => v.Secrets.Watch().Changed));
            if (both.Zip(old).All(v => v.First.Secrets.Current!.Serial != v.Second)) { break; }
            _armed ??= NapAsync();
            if (await Task.WhenAny(changed, _armed) != _armed) { continue; }
            await _armed;
            _armed = null;
            _time.Advance(RotationPolicy.LongestSleep);
        }
        foreach (TlsVm vm in both) { await vm.UntilAsync(v => v.Presented == v.Secrets.Current!.Serial); }
    }

    /// <summary>A rotator has gone to sleep; other timers are not meant.</summary>
    private async Task NapAsync()
    {
        while (await _time.NextTimerAsync(Test.Deadline) != RotationPolicy.LongestSleep) { }
    }
}
