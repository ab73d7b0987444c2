using VmSidecar.Envoy;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoyStatsTests
{
    private const string Busy = """
        http.admin.downstream_cx_active: 2
        listener.0.0.0.0_8443.downstream_cx_active: 6
        listener.0.0.0.0_9093.downstream_cx_active: 8
        listener.10.112.32.70_9043.downstream_cx_active: 1
        listener.10.112.40.186_2181.downstream_cx_active: 1
        listener.10.112.43.239_9043.downstream_cx_active: 2
        listener.10.112.49.68_9043.downstream_cx_active: 1
        listener.admin.downstream_cx_active: 2
        listener.admin.main_thread.downstream_cx_active: 2
        listener.0.0.0.0_8443.worker_0.downstream_cx_active: 3
        listener.envoy_internal_x.downstream_cx_active: 3
        """;

    private const string Idle = """
        listener.0.0.0.0_8443.downstream_cx_active: 0
        listener.0.0.0.0_15021.downstream_cx_active: 1
        listener.[__]_15090.downstream_cx_active: 4
        listener.[__]_15021.downstream_cx_active: 4
        listener.admin.downstream_cx_active: 2
        listener.envoy_internal_main_internal.downstream_cx_active: 3
        """;

    [Theory]
    [InlineData("", null)]
    [InlineData(" \n", null)]
    [InlineData(Busy, 19L)]
    [InlineData(Idle, 0L)]
    [InlineData("listener.0.0.0.0_80.downstream_cx_active: 1: 2\nlistener.a_80.downstream_cx_active: x\n", 0L)]
    public void Counts_what_users_are_connected(string body, long? expected) => Assert.Equal(expected, EnvoyStats.ActiveConnections(body, 15021, 15090));

    [Theory]
    [InlineData("a.b: 3\n", "a.b", 3L)]
    [InlineData("a.b.c: 4\na.b: 3\n", "a.b", 4L)] // a prefix is enough, as with the classic agent
    [InlineData("x.a.b: 3\n", "a.b", null)]
    [InlineData("a.b: 3: 4\n", "a.b", null)]
    [InlineData("a.b:-3", "a.b", -3L)]
    public void A_statistic_is_found_by_its_prefix(string body, string name, long? expected) => Assert.Equal(expected, EnvoyStats.Find(body, name));
}
