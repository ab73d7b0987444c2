namespace VmSidecar.Tests.Iptables;

/// <summary>Rules of other programs that must survive byte for byte: what docker, ufw and firewalld leave in iptables, and what is easily mistaken for ours.</summary>
internal static class ForeignRules
{
    public const string Text = """
        *nat
        :DOCKER - [0:0]
        -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
        -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
        -A DOCKER -i docker0 -j RETURN
        -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
        -A PREROUTING -i virbr9 -j RETURN
        -A OUTPUT -p udp -m udp --dport 5353 -j REDIRECT --to-ports 15054
        -A OUTPUT -d 192.0.2.77/32 -p tcp -m tcp --dport 80 -m comment --comment "not vmsidecar: \"quoted\", ISTIO_OUTPUT" -j RETURN
        COMMIT
        *mangle
        -A POSTROUTING -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
        -A PREROUTING -i eth9 -j MARK --set-xmark 0x7/0xff
        -A OUTPUT -m mark --mark 0x539 -j ACCEPT
        COMMIT
        *filter
        :INPUT ACCEPT [0:0]
        :FORWARD DROP [0:0]
        :DOCKER-USER - [0:0]
        :ufw-before-input - [0:0]
        :ufw-user-input - [0:0]
        :IN_public - [0:0]
        -A INPUT -j ufw-before-input
        -A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
        -A FORWARD -j DOCKER-USER
        -A DOCKER-USER -j RETURN
        -A ufw-before-input -i lo -j ACCEPT
        -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        -A ufw-before-input -j ufw-user-input
        -A ufw-user-input -p tcp -m tcp --dport 15006 -j ACCEPT
        -A IN_public -j RETURN
        COMMIT
        *raw
        -A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp
        -A PREROUTING -i eth9 -p udp -m udp --sport 53 -j CT --zone 1
        COMMIT

        """;
}
