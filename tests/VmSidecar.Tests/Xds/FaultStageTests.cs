using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>
/// Every fault at every stage of a joint stream, in both protocols. The link is held at the stage, the fault strikes while it is held, and afterwards a new Envoy gets
/// everything, istiod sees one stream, the VM is registered once and no connection is left. One relay goes through all faults of a stage, one after the other.
/// </summary>
public sealed class FaultStageTests
{
    [Theory]
    [InlineData("connecting", false), InlineData("connecting", true)]
    [InlineData("before the first answer", false), InlineData("before the first answer", true)]
    [InlineData("within a message", false), InlineData("within a message", true)]
    [InlineData("idle", false), InlineData("idle", true)]
    [InlineData("with an unacknowledged push", false), InlineData("with an unacknowledged push", true)]
    public async Task Each_fault_at(string stage, bool delta)
    {
        await using FaultStage at = await FaultStage.StartedAsync(stage, delta);
        foreach (string fault in FaultStage.Faults) { await at.SurviveAsync(fault); }
    }
}
