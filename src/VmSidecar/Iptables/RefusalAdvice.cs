namespace VmSidecar.Iptables;

/// <summary>What an operator does about a refusal of iptables, nft or ip, from the tool's own words. Pure.</summary>
internal static class RefusalAdvice
{
    /// <summary>How the tools and the kernel say that a module is not there.</summary>
    private static readonly string[] s_module =
        ["missing kernel module", "No such file or directory", "Table does not exist", "does the table exist", "do you need to insmod", "can't initialize", "unable to initialize", "not supported", "No chain/target/match by that name"];

    /// <summary>One imperative sentence.</summary>
    public static string For(string problem)
    {
        if (problem.Contains("ip6tables", StringComparison.Ordinal) && problem.Contains("is not installed", StringComparison.Ordinal))
        {
            return "Install it (package iptables), or leave IPv6 out: ISTIO_DUAL_STACK=false in sidecar.env";
        }
        if (problem.Contains("is not installed", StringComparison.Ordinal)) { return "Install it"; }
        if (problem.Contains("you must be root", StringComparison.Ordinal) || problem.Contains("Permission denied", StringComparison.Ordinal) || problem.Contains("Operation not permitted", StringComparison.Ordinal))
        {
            return "Run as root";
        }
        if (problem.Contains("held the lock", StringComparison.Ordinal)) { return "Let it end, or end it, and run this again: nothing was changed"; }
        return s_module.Any(m => problem.Contains(m, StringComparison.OrdinalIgnoreCase))
            ? "The kernel lacks a module: run 'modprobe -a nf_conntrack nf_nat xt_owner xt_REDIRECT xt_conntrack xt_addrtype xt_comment xt_CT', or choose another back end with --backend nftables"
            : "Run 'vmsidecar iptables show' and try its lines with iptables-restore --noflush --test";
    }
}
