using System.Collections.Immutable;
using System.Net;
using System.Security.Authentication;

using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace VmSidecar.TestKit.Istiod;

/// <summary>How a <see cref="FakeIstiod"/> is built. Defaults are those of a default installation.</summary>
internal sealed record IstiodOptions
{
    public IstiodVersion Version { get; init; } = IstiodVersion.V1_31;

    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Port 0: any free one; kept over restarts.</summary>
    public IPEndPoint Listen { get; init; } = new(IPAddress.Loopback, 0);

    public string TrustDomain { get; init; } = "cluster.local";

    /// <summary>Names in the serving certificate. No IP address and no localhost, as in the real one.</summary>
    public ImmutableArray<string> ServerNames { get; init; } =
        ["istiod.istio-system.svc", "istiod-remote.istio-system.svc", "istio-pilot.istio-system.svc"];

    /// <summary>Intermediate certificates of the CA: 0 self-signed, 1 as a plugged-in CA.</summary>
    public int Intermediates { get; init; }

    /// <summary>Clusters whose tokens can be reviewed; metadata <c>clusterid</c> must be empty or one of them.</summary>
    public ImmutableArray<string> Clusters { get; init; } = ["Kubernetes"];

    /// <summary>The audience a token must carry (TOKEN_AUDIENCES).</summary>
    public string Audience { get; init; } = "istio-ca";

    /// <summary>An external signer stands behind the CA service, which then checks CSRs (reference: registration-authority mode).</summary>
    public bool RegistrationAuthority { get; init; }

    /// <summary>ISTIO_MULTIROOT_MESH: PCDS is answered with the roots; else met with silence.</summary>
    public bool MultiRoot { get; init; }

    /// <summary>PILOT_WORKLOAD_ENTRY_GRACE_PERIOD.</summary>
    public TimeSpan GracePeriod { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Changes of registration and health are pushed at once (debouncing is off).</summary>
    public bool PushOnChange { get; init; } = true;

    /// <summary>Plays port 15010 instead of 15012: no TLS, no CA, nobody is authenticated.</summary>
    public bool Plaintext { get; init; }

    /// <summary>TLS versions served.</summary>
    public SslProtocols Protocols { get; init; } = SslProtocols.Tls12 | SslProtocols.Tls13;

    /// <summary>Largest message accepted, bytes: istiod's own 4 MiB.</summary>
    public int MaxReceive { get; init; } = 4 * 1024 * 1024;

    /// <summary>Answers carry a Date header, as behind a gateway. The real one sends none.</summary>
    public bool SendsDate { get; init; }

    public ILogger Log { get; init; } = NullLogger.Instance;
}
