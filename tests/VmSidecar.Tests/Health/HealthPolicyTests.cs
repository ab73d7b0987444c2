using VmSidecar.Health;

using Xunit;

namespace VmSidecar.Tests.Health;

public sealed class HealthPolicyTests
{
    [Theory]
    [InlineData(2, 3, "FSSFFSFFF", "..H.....U")] // the worked example of the specification
    [InlineData(1, 1, "FFSSF", "U.H.U")]
    [InlineData(1, 1, "SSSF", "H..U")]
    [InlineData(3, 1, "SSFSSS", "..U..H")]
    [InlineData(2, 2, "SFSFSS", ".....H")]
    public void Only_flips_are_told(int successThreshold, int failureThreshold, string results, string told)
    {
        var policy = new HealthPolicy(successThreshold, failureThreshold);
        HealthPolicy.Memory memory = default;
        var seen = new System.Text.StringBuilder();
        foreach (char result in results)
        {
            (memory, bool flipped) = policy.After(memory, result == 'S');
            seen.Append(!flipped ? '.' : memory.Verdict == true ? 'H' : 'U');
        }
        Assert.Equal(told, seen.ToString());
    }
}
