namespace VmSidecar.Lifecycle;

/// <summary>A component that ends differently where another program takes this one's place in the same process: what outlives the program stays as it is, and nobody is told goodbye.</summary>
internal interface IReplaceable
{
    /// <summary>In place of <see cref="IComponent.StopAsync"/>, under the same rules.</summary>
    Task LeaveAsync(CancellationToken hard);
}
