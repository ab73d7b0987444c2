using Xunit;

namespace VmSidecar.Tests;

/// <summary>Tests that measure the whole process (handles, memory): nothing else runs beside them.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Alone
{
    public const string Name = "alone";
}
