using VmSidecar.MeshLab.Lab;
using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>A machine that has pilot-agent's package (laid out as reference 01 section 2 says), its unit running as root's child and its rules in the kernel, becomes ours by <c>dpkg -i</c>.</summary>
public sealed class TakeoverTests(PackageMesh mesh)
{
    // The shape of the classic package: files, postinst, unit. The agent is a sleep that leaves its rules when it is killed, as a crashed one does.
    private const string MakeClassic = """
        p=/root/classic; mkdir -p $p/DEBIAN $p/usr/local/bin $p/lib/systemd/system $p/var/lib/istio/envoy $p/var/lib/istio/extensions
        cat >$p/DEBIAN/control <<'C'
        Package: istio-sidecar
        Version: 1.10.0
        Architecture: amd64
        Maintainer: istio@istio.io
        Depends: iproute2, iptables
        Description: Istio Sidecar
        C
        echo '/var/lib/istio/envoy/sidecar.env' >$p/DEBIAN/conffiles
        cat >$p/DEBIAN/postinst <<'S'
        #!/bin/sh
        set -e
        umask 022
        getent passwd istio-proxy >/dev/null || { addgroup --system istio-proxy; adduser --system --home /var/lib/istio --ingroup istio-proxy istio-proxy; }
        [ -e /etc/istio ] || ln -s /var/lib/istio /etc/istio
        mkdir -p /var/lib/istio/envoy /var/lib/istio/proxy /var/lib/istio/config /var/log/istio /etc/certs
        touch /var/lib/istio/config/mesh
        chown istio-proxy:istio-proxy /etc/certs /var/lib/istio/envoy /var/lib/istio/config /var/lib/istio/config/mesh /var/lib/istio/proxy /var/log/istio
        chmod o+rx /usr/local/bin/envoy /usr/local/bin/pilot-agent
        chmod 2755 /usr/local/bin/envoy /usr/local/bin/pilot-agent
        S
        chmod 755 $p/DEBIAN/postinst
        printf '#!/bin/sh\nexec sleep 1000000\n' >$p/usr/local/bin/pilot-agent
        mv /usr/local/bin/envoy $p/usr/local/bin/envoy
        cat >$p/usr/local/bin/istio-start.sh <<'S'
        #!/bin/bash
        if [ "$1" = clean ]; then exit 0; fi
        echo started >/var/log/istio/istio.log
        iptables-restore --noflush <<'R'
        *nat
        :ISTIO_REDIRECT - [0:0]
        :ISTIO_OUTPUT - [0:0]
        :ISTIO_IN_REDIRECT - [0:0]
        :ISTIO_INBOUND - [0:0]
        -A PREROUTING -p tcp -j ISTIO_INBOUND
        -A OUTPUT -p tcp -j ISTIO_OUTPUT
        -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
        -A ISTIO_INBOUND -p tcp --dport 22 -j RETURN
        -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
        -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
        -A ISTIO_OUTPUT -j ISTIO_REDIRECT
        COMMIT
        R
        exec /usr/local/bin/pilot-agent proxy
        S
        chmod 755 $p/usr/local/bin/*
        echo '# sidecar' >$p/var/lib/istio/envoy/sidecar.env
        cat >$p/lib/systemd/system/istio.service <<'U'
        [Unit]
        Description=istio-sidecar: The Istio sidecar
        [Service]
        ExecStart=/usr/local/bin/istio-start.sh
        ExecStopPost=/usr/local/bin/istio-start.sh clean
        Restart=always
        RestartSec=10
        [Install]
        WantedBy=multi-user.target
        U
        dpkg-deb -Znone --root-owner-group -b $p /root/istio-sidecar.deb >/dev/null
        dpkg -i /root/istio-sidecar.deb
        """;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Dpkg_i_over_a_running_pilot_agent_gives_a_running_member_with_its_envoy_and_its_settings()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await vm.RunAsync(MakeClassic, Stop);
        string uid = await vm.RunAsync("id -u istio-proxy", Stop);
        await vm.RunAsync("""
            cd /root/files; mkdir -p /var/run/secrets/tokens /etc/istio/proxy
            cp root-cert.pem /etc/certs/; cp istio-token /var/run/secrets/tokens/; cp cluster.env /var/lib/istio/envoy/; cp mesh.yaml /etc/istio/config/mesh; cat hosts >>/etc/hosts
            echo 'SECRET_TTL=12h' >>/var/lib/istio/envoy/sidecar.env
            systemctl start istio
            """, Stop);
        await vm.UntilAsync("the old rules", "iptables-save", r => r.Output.Contains("ISTIO_REDIRECT", StringComparison.Ordinal), Stop);
        Assert.Equal("root\n", await vm.RunAsync("stat -c %U /var/log/istio/istio.log", Stop)); // a left-over that istio-proxy could not write

        string install = await vm.RunAsync("dpkg -i /root/vm-sidecar.deb 2>&1", Stop);
        Assert.Contains("keeping Istio's Envoy", install, StringComparison.Ordinal);
        await mesh.RegisteredAsync(vm, Stop);
        Assert.Equal("disabled\nactive\n", await vm.RunAsync("systemctl is-enabled istio || true; systemctl is-active istio", Stop));
        Assert.Equal("/usr/bin/vmsidecar\n", await vm.RunAsync("readlink /proc/$(systemctl show -p MainPID --value istio)/exe", Stop));
        Assert.Equal("755 root\n", await vm.RunAsync("stat -c '%a %U' /usr/local/bin/envoy", Stop));
        Assert.Equal("", await vm.RunAsync("ls /usr/local/bin | grep -v '^envoy$' || true; pgrep -x sleep || true; ls /run/vm-sidecar-takeover 2>/dev/null || true", Stop));
        Assert.Equal(uid, await vm.RunAsync("id -u istio-proxy", Stop));
        Assert.Contains("SECRET_TTL=12h", await vm.RunAsync("cat /var/lib/istio/envoy/sidecar.env", Stop), StringComparison.Ordinal);
        ShellResult diff = await vm.TryAsync("vmsidecar iptables diff", Stop);
        Assert.True(diff.Exit == 0, diff.All); // exactly our rules, none of the old ones
    }

    [Fact]
    public async Task Without_space_the_take_over_leaves_pilot_agent_running()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await vm.RunAsync(MakeClassic + "\nsystemctl start istio", Stop);
        await vm.LimitDiskAsync(4 * 1024 * 1024, Stop);
        Assert.NotEqual(0, (await vm.TryAsync("dpkg -i /root/vm-sidecar.deb", Stop)).Exit);
        Assert.Equal("active\n", await vm.RunAsync("systemctl is-active istio", Stop));
        await vm.RunAsync("test -x /usr/local/bin/envoy; test ! -e /usr/local/bin/.envoy.vm-sidecar; pgrep -x sleep; test ! -e /run/vm-sidecar-takeover", Stop);
    }
}
