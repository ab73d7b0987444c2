using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>Durations at their limits: neither the agent nor a part of it ends on one.</summary>
public sealed class WaitSettingsTests
{
    /// <summary>Every duration that is waited for is one that timers can do; what a timer cannot is warned of, with what is used instead.</summary>
    [Theory]
    [InlineData("GRPC_KEEPALIVE_INTERVAL=500ms", "is shorter than 10s, which is used instead")]
    [InlineData("GRPC_KEEPALIVE_INTERVAL=0", "is shorter than 10s, which is used instead")]
    [InlineData("GRPC_KEEPALIVE_TIMEOUT=0s", "is shorter than 1s, which is used instead")]
    [InlineData("GRPC_KEEPALIVE_TIMEOUT=2000h", "is longer than 1728000s, which is used instead")]
    [InlineData("MINIMUM_DRAIN_DURATION=2000h", "is longer than 1728000s, which is used instead")]
    [InlineData("WASM_PURGE_INTERVAL=2000h", "is longer than 1728000s, which is used instead")]
    [InlineData("WASM_HTTP_REQUEST_TIMEOUT=0", "is shorter than 0.001s, which is used instead")]
    [InlineData("WASM_PURGE_INTERVAL=0", null)]
    [InlineData("GRPC_KEEPALIVE_INTERVAL=1m", null)]
    public void A_wait_no_timer_can_do_is_brought_to_one_it_can(string line, string? warning)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(line + "\n");
        ConfigLoad load = host.Load();
        Assert.Empty(load.Mistakes);
        Assert.Equal(warning, load.Errors.Where(e => e.Line == 1).Select(e => e.Problem).SingleOrDefault());
        SidecarOptions options = load.Options!;
        foreach (TimeSpan wait in (TimeSpan[])[options.Identity.KeepAliveInterval, options.Identity.KeepAliveTimeout, options.Envoy.MinimumDrainDuration, options.Xds.Wasm!.PurgeInterval, options.Xds.Wasm!.RequestTimeout])
        {
            using var timer = new CancellationTokenSource(wait); // what a timer can do
        }
        using var http = new SocketsHttpHandler { KeepAlivePingDelay = options.Identity.KeepAliveInterval, KeepAlivePingTimeout = options.Identity.KeepAliveTimeout };
    }

    [Fact]
    public void A_drain_longer_than_any_timer_is_shortened_with_a_warning()
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh("defaultConfig: {discoveryAddress: 'istiod.istio-system.svc:15012', terminationDrainDuration: 99999999s}\n");
        ConfigLoad load = host.Load();
        Assert.Equal(SettingReader.LongestWait, load.Options!.Envoy.TerminationDrainDuration);
        Assert.Contains(load.Errors, e => e.IsWarning && e.Key == "terminationDrainDuration");
    }
}
