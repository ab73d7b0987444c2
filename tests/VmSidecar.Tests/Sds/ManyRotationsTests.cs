using System.Runtime.CompilerServices;

using VmSidecar.Configuration;
using VmSidecar.Proto.Discovery;
using VmSidecar.Sds;
using VmSidecar.Tests.Identity;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>The rotator and the SDS server together, over a hundred days of a VM's life.</summary>
public sealed class ManyRotationsTests
{
    private const int Rotations = 200, Settled = 50; // by then every pool and every code path has been used

    [Fact]
    public Task Two_hundred_rotations_reach_three_streams_and_leave_nothing_behind() => OwnProcess.RunAsync($"{typeof(ManyRotationsTests).FullName}.{nameof(Measured)}");

    /// <summary>The body, for a process of its own.</summary>
    [Fact(Explicit = true)]
    public async Task Measured()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Istiod.CertificateAuthority.Options = bench.Istiod.CertificateAuthority.Options with { ForcedTtl = TimeSpan.FromHours(1) };
        string socket = bench.Folder.At("uds", "socket");
        var server = new SdsServer(new SdsOptions([socket], null, new HostPaths(bench.Folder.Path)), bench.Secrets, bench.Rotator.Status, bench.Use);
        await server.StartAsync(CancellationToken.None);
        await using (SdsClient a = await SdsBench.OpenAsync(socket), b = await SdsBench.OpenAsync(socket), c = await SdsBench.OpenAsync(socket, "DeltaSecrets"))
        {
            await a.AskAsync(["default"]); // before there is a certificate
            await b.AskAsync(["default", "ROOTCA"]);
            await c.SendAsync(new DeltaDiscoveryRequest { Node = new Node { Id = "vm" }, ResourceNamesSubscribe = { "default" } });
            await bench.FirstAsync();
            int handles = 0;
            long memory = 0;
            List<WeakReference> issued = [];
            for (int rotation = 0; rotation <= Rotations; rotation++)
            {
                string expected = bench.Secrets.Current!.KeyPem;
                Assert.Equal(expected, SdsClient.Text(SdsClient.Of(await a.NextAsync())[0].TlsCertificate.PrivateKey));
                Assert.Equal(expected, SdsClient.Text(SdsClient.Of(await b.NextAsync())[0].TlsCertificate.PrivateKey));
                Assert.Equal("default", Assert.Single((await c.NextDeltaAsync()).Resources).Name);
                issued.Add(Weak(bench));
                if (rotation == Settled) { (handles, memory) = (Handles(), Memory()); }
                if (rotation < Rotations) { await bench.RenewedAsync(); }
            }
            // What is under way ends in its own time; what stays does not.
            try { await VmSidecar.TestKit.Test.UntilAsync(() => Handles() <= handles + 20 && Memory() - memory < 4 * 1024 * 1024); }
            catch (OperationCanceledException) { Assert.Fail($"handles, bytes: {(handles, memory)} after {Settled} rotations, {(Handles(), Memory())} at the end"); }
            Assert.InRange(issued.Count(i => i.IsAlive), 1, 5); // nobody holds an old certificate
        }
        Assert.Equal(Rotations + 1, bench.Calls);
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await server.StopAsync(hard.Token);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference Weak(RotatorBench bench) => new(bench.Secrets.Current!);

    private static long Memory()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return GC.GetTotalMemory(forceFullCollection: true);
    }

    private static int Handles() => Directory.GetFiles("/proc/self/fd").Length;
}
