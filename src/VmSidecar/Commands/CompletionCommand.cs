using System.CommandLine;

namespace VmSidecar.Commands;

/// <summary><c>completion bash|zsh|fish</c>: a script for the shell. It asks the program itself (System.CommandLine's <c>[suggest]</c>), so that it never falls behind; the verbs of iptables, which parse their own flags, are listed.</summary>
internal static class CompletionCommand
{
    private const string Captures = "apply clean show diff watch";

    public static Command Create(Cli cli)
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "A script that completes verbs and options in a shell") { shell };
        command.SetAction(parsed => cli.Out.Write(Script(parsed.GetValue(shell)!)));
        return command;
    }

    /// <summary>The script, ending in a line end.</summary>
    internal static string Script(string shell) => shell switch
    {
        "zsh" => $$"""
            #compdef vmsidecar pilot-agent
            _vmsidecar() {
                local -a words_found
                if [[ ${words[2]} == iptables && CURRENT -eq 3 ]]; then words_found=({{Captures}})
                else words_found=(${(f)"$(${words[1]} "[suggest:${#BUFFER}]" "$BUFFER" 2>/dev/null)"}); fi
                compadd -a words_found
                _files
            }
            compdef _vmsidecar vmsidecar pilot-agent

            """,
        "fish" => $$"""
            complete -c vmsidecar -n 'not __fish_seen_subcommand_from iptables' -a '(vmsidecar "[suggest:"(string length -- (commandline -cp))"]" (commandline -cp) 2>/dev/null)'
            complete -c vmsidecar -n '__fish_seen_subcommand_from iptables' -f -a '{{Captures}}'

            """,
        _ => $$"""
            _vmsidecar() {
                local word=${COMP_WORDS[COMP_CWORD]} found
                if [ "${COMP_WORDS[1]}" = iptables ] && [ "$COMP_CWORD" -eq 2 ]; then found="{{Captures}}"
                else found=$("${COMP_WORDS[0]}" "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null); fi
                COMPREPLY=($(compgen -W "$found" -- "$word"))
            }
            complete -o default -F _vmsidecar vmsidecar pilot-agent

            """,
    };
}
