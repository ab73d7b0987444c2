using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The words of real tools, and what is said about them.</summary>
public sealed class RefusalAdviceTests
{
    [Theory]
    [InlineData("ip6tables-nft-restore: ip6tables-nft-restore is not installed", "leave IPv6 out")]
    [InlineData("ip -4 rule add: ip is not installed", "Install it")]
    [InlineData("iptables-nft-restore: iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)", "Run as root")]
    [InlineData("iptables-legacy-restore: iptables-legacy-restore v1.8.9 (legacy): iptables-legacy-restore: unable to initialize table 'nat'", "modprobe -a nf_conntrack")]
    [InlineData("iptables-nft-restore: Warning: Extension owner revision 0 not supported, missing kernel module?", "modprobe -a nf_conntrack")]
    [InlineData("iptables-legacy-restore: iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)", "modprobe -a nf_conntrack")]
    [InlineData("nft: /dev/stdin:12:3-20: Error: Could not process rule: No such file or directory", "modprobe -a nf_conntrack")]
    [InlineData("iptables-legacy-restore: another program has held the lock of iptables for 30 s; see who with: fuser -v /run/xtables.lock", "Let it end")]
    [InlineData("iptables-nft-restore: line 7 failed", "vmsidecar iptables show")]
    public void Each_refusal_has_a_next_step(string problem, string step) => Assert.Contains(step, RefusalAdvice.For(problem), StringComparison.Ordinal);
}
