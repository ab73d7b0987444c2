using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>The workload's readiness probe (ProxyConfig.readinessProbe), defaults filled in. Exactly one of the actions is set.</summary>
internal sealed record ProbeOptions
{
    public TimeSpan InitialDelay { get; init; }
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(1);
    public TimeSpan Period { get; init; } = TimeSpan.FromSeconds(10);
    public int SuccessThreshold { get; init; } = 1;

    /// <summary>1, as the classic agent does (its documentation says 3).</summary>
    public int FailureThreshold { get; init; } = 1;

    /// <summary>Host used where the action names none.</summary>
    public string DefaultHost { get; init; } = "localhost";

    public HttpProbe? Http { get; init; }
    public TcpProbe? Tcp { get; init; }
    public ImmutableArray<string> Exec { get; init; } = [];
    public GrpcProbe? Grpc { get; init; }
}

/// <summary>httpGet.</summary>
internal sealed record HttpProbe(string Path, int Port, string? Host, string Scheme, ImmutableArray<KeyValuePair<string, string>> Headers);

/// <summary>tcpSocket.</summary>
internal sealed record TcpProbe(int Port, string? Host);

/// <summary>grpc.</summary>
internal sealed record GrpcProbe(int Port, string Service);
