namespace VmSidecar.Identity;

/// <summary>Where a token comes from when the agent fetches it itself. Used by <see cref="TokenRefresher"/>, one call at a time.</summary>
internal interface ITokenSource
{
    /// <summary>What it is, for the log: a program, an address.</summary>
    string Name { get; }

    /// <summary>A JWT, or null and the reason. Bounded in time by the source.</summary>
    Task<(string? Token, string Problem)> FetchAsync(CancellationToken stop);
}
