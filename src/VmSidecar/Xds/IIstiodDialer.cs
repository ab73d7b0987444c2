using VmSidecar.Grpc;

namespace VmSidecar.Xds;

/// <summary>Opens one stream to istiod, each on a connection of its own, so that every stream resolves the name, checks the peer and presents credentials anew.</summary>
internal interface IIstiodDialer
{
    /// <summary>istiod as configured, for logs.</summary>
    string Address { get; }

    /// <summary>Returns when the connection is up; throws <see cref="GrpcException"/> when it cannot be. Disposing the call closes the connection.</summary>
    Task<IGrpcClientCall> OpenAsync(string method, CancellationToken stop);
}
