using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Lifecycle;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Lifecycle;

public sealed class ComponentStackTests
{
    private readonly List<string> _events = [];

    [Fact]
    public async Task Stops_in_reverse_order_when_asked()
    {
        await using ComponentStack stack = New();
        await stack.StartAsync(new Part("a", _events), default);
        await stack.StartAsync(new Part("b", _events), default);
        using var stop = new CancellationTokenSource();
        Task<ExitCode> end = stack.WaitForEndAsync(stop.Token);
        await stop.CancelAsync();
        Assert.Equal(ExitCode.Stopped, await end.WaitAsync(Test.Deadline));
        Assert.Equal(["+a", "+b", "-b", "-a"], _events);
    }

    /// <summary>A second signal may come at any time until the process is gone.</summary>
    [Fact]
    public async Task To_hurry_what_has_ended_is_no_error()
    {
        ComponentStack stack = New();
        await stack.StartAsync(new Part("a", _events), default);
        await stack.DisposeAsync();
        stack.Hurry();
        Assert.Equal(["+a", "-a"], _events);
    }

    [Fact]
    public async Task A_half_started_component_is_stopped_too()
    {
        ComponentStack stack = New();
        await stack.StartAsync(new Part("a", _events), default);
        await Assert.ThrowsAsync<FatalException>(() => stack.StartAsync(new Part("b", _events, startFails: true), default));
        await stack.DisposeAsync();
        Assert.Equal(["+a", "+b", "-b", "-a"], _events);
    }

    [Theory]
    [InlineData(true, ExitCode.Fatal)]
    [InlineData(false, ExitCode.Bug)]
    internal async Task The_first_fault_is_the_cause(bool named, ExitCode expected)
    {
        await using ComponentStack stack = New();
        var part = new Part("a", _events);
        await stack.StartAsync(part, default);
        Task<ExitCode> end = stack.WaitForEndAsync(default);
        part.Fail(named ? new FatalException("a", "port taken", "Free it") : new InvalidOperationException("bug"));
        Assert.Equal(expected, await end.WaitAsync(Test.Deadline));
        Assert.Equal(["+a", "-a"], _events);
    }

    [Fact]
    public async Task A_component_that_never_stops_does_not_keep_the_others_from_stopping()
    {
        var time = new ManualTimeProvider();
        await using ComponentStack stack = new(TimeSpan.FromSeconds(10), time, NullLogger.Instance);
        await stack.StartAsync(new Part("a", _events), default);
        await stack.StartAsync(new Part("stuck", _events, stopHangs: true), default);
        using var stop = new CancellationTokenSource();
        Task<ExitCode> end = stack.WaitForEndAsync(stop.Token);
        await stop.CancelAsync();
        Assert.Equal(TimeSpan.FromSeconds(10), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(TimeSpan.FromSeconds(2), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(2));
        await end.WaitAsync(Test.Deadline);
        Assert.Equal(["+a", "+stuck", "-stuck", "-a"], _events);
    }

    private static ComponentStack New() => new(TimeSpan.FromSeconds(10), TimeProvider.System, NullLogger.Instance);

    private sealed class Part(string name, List<string> events, bool startFails = false, bool stopHangs = false) : IComponent
    {
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Name => name;

        public Task Completion => _end.Task;

        public void Fail(Exception e) => _end.SetException(e);

        public Task StartAsync(CancellationToken startup)
        {
            events.Add("+" + name);
            return startFails ? throw new FatalException(name, "no", "yes") : Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken hard)
        {
            events.Add("-" + name);
            return stopHangs ? new TaskCompletionSource().Task : Task.CompletedTask;
        }
    }
}
