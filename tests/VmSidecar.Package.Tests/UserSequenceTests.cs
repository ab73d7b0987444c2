using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>What a person types on a new VM, in the order of Istio's own guide, ends in a member of the mesh.</summary>
public sealed class UserSequenceTests(PackageMesh mesh)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_classic_sequence_gives_a_running_member_of_the_mesh()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await Onboarding.InstallAsync(vm, Stop);
        Assert.Equal("disabled\ninactive\n", (await vm.TryAsync("systemctl is-enabled istio || true; systemctl is-active istio || true", Stop)).Output);
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
    }
}
