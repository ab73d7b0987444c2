namespace VmSidecar.Tests.Iptables;

/// <summary>Rules of other programs that must survive byte for byte: what docker, podman (netavark, CNI), ufw, firewalld and fail2ban leave in iptables, and what is easily mistaken for ours.</summary>
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
        :NETAVARK-HOSTPORT-DNAT - [0:0]
        :NETAVARK-HOSTPORT-SETMARK - [0:0]
        :NETAVARK-1D8721804F16F - [0:0]
        :NETAVARK-DN-1D8721804F16F - [0:0]
        :CNI-HOSTPORT-DNAT - [0:0]
        -A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
        -A OUTPUT -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
        -A POSTROUTING -s 10.88.0.0/16 -j NETAVARK-1D8721804F16F
        -A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-DNAT
        -A NETAVARK-1D8721804F16F -d 10.88.0.0/16 -j ACCEPT
        -A NETAVARK-1D8721804F16F ! -d 224.0.0.0/4 -j MASQUERADE
        -A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
        -A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 8082 -m comment --comment "dnat name: podman id: 7f" -j NETAVARK-DN-1D8721804F16F
        -A NETAVARK-DN-1D8721804F16F -s 10.88.0.0/16 -p tcp -m tcp --dport 8082 -j NETAVARK-HOSTPORT-SETMARK
        -A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 8082 -j DNAT --to-destination 10.88.0.2:80
        :PREROUTING_direct - [0:0]
        :PREROUTING_ZONES - [0:0]
        :PRE_public - [0:0]
        -A PREROUTING -j PREROUTING_direct
        -A PREROUTING -j PREROUTING_ZONES
        -A PREROUTING_ZONES -i eth8 -g PRE_public
        -A PREROUTING_ZONES -g PRE_public
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
        :INPUT_ZONES - [0:0]
        :f2b-sshd - [0:0]
        -A INPUT -p tcp -m multiport --dports 22,2222 -j f2b-sshd
        -A INPUT -j INPUT_ZONES
        -A INPUT -m conntrack --ctstate INVALID -j DROP
        -A INPUT -j REJECT --reject-with icmp-host-prohibited
        -A INPUT_ZONES -g IN_public
        -A f2b-sshd -s 198.51.100.9/32 -j REJECT --reject-with icmp-port-unreachable
        -A f2b-sshd -j RETURN
        COMMIT
        *raw
        -A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp
        -A PREROUTING -i eth9 -p udp -m udp --sport 53 -j CT --zone 1
        COMMIT

        """;

    /// <summary>A firewall of nftables' own, as firewalld writes it today: base chains of several types and priorities, a set, counters.</summary>
    public const string Native = """
        table inet firewalld {
            set public_ports { type inet_service; elements = { 22, 8080 } }
            chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; jump nat_PRE_public; }
            chain nat_PRE_public { tcp dport 8443 redirect to :443; }
            chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; oifname "eth7" masquerade; }
            chain filter_INPUT { type filter hook input priority filter + 10; policy accept; ct state { established, related } accept; iifname "lo" accept; tcp dport @public_ports accept; udp dport 53 counter accept; }
            chain raw_PREROUTING { type filter hook prerouting priority raw + 10; policy accept; udp dport 69 ct zone set 7; }
        }
        """;
}
