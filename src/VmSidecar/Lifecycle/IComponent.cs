namespace VmSidecar.Lifecycle;

/// <summary>One long-lived activity. Constructors do no I/O; a component is used once. Owned by <see cref="ComponentStack"/>.</summary>
internal interface IComponent
{
    /// <summary>Short lower-case name for logs.</summary>
    string Name { get; }

    /// <summary>Takes what later components rely on (sockets, files); returns when usable, throws if it cannot be.</summary>
    Task StartAsync(CancellationToken startup);

    /// <summary>Ends when the component ends. A fault ends the process.</summary>
    Task Completion { get; }

    /// <summary>No new work; finish until <paramref name="hard"/> fires; free everything. Never throws; safe after a failed start.</summary>
    Task StopAsync(CancellationToken hard);
}
