using System.CommandLine;
using System.CommandLine.Invocation;

namespace VmSidecar.Commands;

/// <summary><c>vmsidecar iptables --help</c>, with or without a verb: the flags are read by a parser of their own, which is why the general help cannot list them.</summary>
internal sealed class CaptureHelp : SynchronousCommandLineAction
{
    /// <summary>What is printed.</summary>
    public const string Text = """
        Capture rules: which connections of this host go to Envoy, and which names to the agent.

        Usage: vmsidecar iptables VERB [flags]            (as root; 'show' needs no root)

        Verbs
          apply    put the rules on, in place of any that are there (ours or pilot-agent's)
          clean    take off whatever is installed, whatever the settings say now
          show     print the rules that apply would load; changes nothing
          diff     compare the installed rules with these; exit 1 when they differ
          watch    stay, and say when others change the rules

        The settings are those of cluster.env and sidecar.env ('vmsidecar check' shows each with its origin); flags win over them.

        Flags of any verb
          --json                         results, differences and mistakes as JSON
          --backend auto|iptables-nft|iptables-legacy|nftables
                                         auto: the one that already holds rules on this host
          --root DIR                     take all paths below DIR
        apply
          --confirm SECONDS              take the rules back unless Enter is pressed in time: use it over ssh
          --run-validation               prove the rules with a connection; exit 126 if they do not work
        watch
          --repair                       put right what others changed
          --interval SECONDS             between two looks (10)
          --failure-mode open|closed     open: lift capture while Envoy stays dead
          --dead-limit SECONDS           for how long it may be dead (60)
        Rules (short and long flags of istio-iptables, 1.10 to current)
          -b, --istio-inbound-ports LIST|*          -d, --istio-local-exclude-ports LIST
          -i, --istio-service-cidr LIST|*           -x, --istio-service-exclude-cidr LIST
          -q, --istio-outbound-ports LIST           -o, --istio-local-outbound-ports-exclude LIST
          -c, --istio-exclude-interfaces LIST       -k, --kube-virt-interfaces LIST
          -u, --proxy-uid LIST                      -g, --proxy-gid LIST
          -m, --istio-inbound-interception-mode REDIRECT|TPROXY
          --redirect-dns  --capture-all-dns  --dual-stack  --drop-invalid
          --never-capture-ports LIST|none           ssh, where it is not found by itself
          --capture-container-bridges               docker and podman too
          --rules-compat 1.10|current  --exact      pilot-agent's rules and nothing else

        Exit codes: 0 done, 1 failed (nothing half done) or different, 78 a mistake in the settings, 126 not valid, 255 wrong usage

        """;

    public override int Invoke(ParseResult parseResult)
    {
        parseResult.InvocationConfiguration.Output.Write(Text);
        return 0;
    }
}
