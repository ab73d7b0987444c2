using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>What istiod says about registration becomes what to fix, in the log and in status (reference 03 §8.4, 08 §1).</summary>
public sealed class RegistrationTests
{
    [Theory] // the recorded words of 1.10 and 1.31, and those of reference 03
    [InlineData(2, "auto-registration WorkloadEntry of vm1.vm-ns failed: cannot find WorkloadGroup vm-ns/vm-app", "ISTIO_META_AUTO_REGISTER_GROUP")]
    [InlineData(9, "auto-registration WorkloadEntry of vm1.vm-ns failed: cannot find WorkloadGroup vm-ns/vm-app", "Apply that WorkloadGroup")]
    [InlineData(2, "auto-registration WorkloadEntry of vm1.ns failed: error creating WorkloadEntry: invalid name", "INSTANCE_IP")]
    [InlineData(2, "registration of WorkloadEntry requires a verified identity", "15012")]
    [InlineData(2, "registration of WorkloadEntry namespace mismatch: \"a\" vs \"b\"", "POD_NAMESPACE")]
    [InlineData(2, "registration of WorkloadEntry service account mismatch: \"a\" vs \"b\"", "SERVICE_ACCOUNT")]
    [InlineData(2, "proxy metadata indicates that it must correspond to an existing WorkloadEntry, however WorkloadEntry ns/name is not found", "ISTIO_META_WORKLOAD_ENTRY")]
    [InlineData(14, "transport is closing", null)]
    public void Each_refusal_has_its_fix(int code, string message, string? fix)
    {
        string? said = RegistrationAdvice.For(new GrpcStatus((GrpcStatusCode)code, message));
        if (fix is null) { Assert.Null(said); return; }
        Assert.StartsWith(message, said, StringComparison.Ordinal);
        Assert.Contains(fix, said, StringComparison.Ordinal);
        Assert.True(RefusalReporter.IsRefusal(new GrpcStatus((GrpcStatusCode)code, message)));
    }

    [Fact]
    public async Task Status_names_the_missing_group_although_the_agents_own_stream_is_well()
    {
        await using RelayBench bench = await new RelayBench(delta: true).StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        await own.Server.SayAsync(Talk.Response(true, Wire.Protobuf.XdsTypeUrl.NameTable, "n1", [1]));
        for (int i = 0; i < 3; i++)
        {
            PairedCall envoy = bench.Envoy(delta: true), istiod = await bench.Istiod.NextAsync();
            istiod.End(new GrpcStatus(GrpcStatusCode.FailedPrecondition, "auto-registration WorkloadEntry of vm1.vm-ns failed: cannot find WorkloadGroup vm-ns/vm-app"));
            await envoy.Ended.WaitAsync(Test.Deadline);
            await own.Server.SayAsync(Talk.Response(true, Wire.Protobuf.XdsTypeUrl.NameTable, $"m{i}", [1]));
        }
        Assert.Contains("correct ISTIO_META_AUTO_REGISTER_GROUP", bench.Proxy.Status.Trouble, StringComparison.Ordinal);
        Assert.Single(bench.Log.Lines, l => l.Contains("refuses this VM", StringComparison.Ordinal));

        PairedCall mended = bench.Envoy(delta: true), joint = await bench.Istiod.NextAsync();
        await joint.Server.SayAsync(Talk.Response(true, Wire.Protobuf.XdsTypeUrl.Cluster, "c1", [1]));
        await mended.Client.ReadBytesAsync();
        Assert.Equal("", bench.Proxy.Status.Trouble);
    }
}
