using System.Text.Json.Nodes;

using VmSidecar.Commands;
using VmSidecar.Commands.Doctor;
using VmSidecar.Iptables;

using Xunit;

namespace VmSidecar.Tests.Commands.Doctor;

/// <summary>What doctor says of rules that differ: how many, and one of them, so that one line tells no rules from a wrong one.</summary>
public sealed class RulesCheckTests
{
    [Fact]
    public void Counts_and_the_first_rule_are_in_the_line()
    {
        JsonObject diff = CaptureText.Diff("legacy",
        [
            (IpFamily.V4, new TableDiff("raw", ["-A OUTPUT -p udp -j CT", "-A PREROUTING -p udp -j CT"], [], [])),
            (IpFamily.V4, new TableDiff("nat", ["-A OUTPUT -j ISTIO_OUTPUT"], ["-A ISTIO_REDIRECT -j RETURN"], [])),
        ]);
        Assert.Equal("3 missing, 1 too many; the first: ipv4 raw -A OUTPUT -p udp -j CT", RulesCheck.Summary(diff));
    }

    [Fact]
    public void Order_alone_is_a_difference_too()
    {
        JsonObject diff = CaptureText.Diff("nft", [(IpFamily.V6, new TableDiff("nat", [], [], ["ISTIO_OUTPUT"]) { Behind = ["-A OUTPUT -j ISTIO_OUTPUT"] })]);
        Assert.Equal("1 out of order, 1 behind rules of others; the first: ipv6 nat ISTIO_OUTPUT", RulesCheck.Summary(diff));
    }
}
