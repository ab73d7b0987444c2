using VmSidecar.Grpc;

namespace VmSidecar.Sds;

/// <summary>What every dialect of one stream works with.</summary>
/// <param name="Number">Of the connection, for the log.</param>
/// <param name="Catalog">Names.</param>
/// <param name="Watch">Subscriptions of this stream.</param>
/// <param name="Log">Lines.</param>
/// <param name="Meters">Counts.</param>
/// <param name="Time">For versions.</param>
internal sealed record SecretContext(long Number, SecretCatalog Catalog, SecretWatch Watch, SecretLog Log, SecretMeters Meters, TimeProvider Time)
{
    /// <summary>Type URL of health reports, which some clients send on any stream.</summary>
    public const string HealthType = "type.googleapis.com/istio.v1.HealthInformation";

    /// <summary>The end of a stream that asks for what does not exist.</summary>
    public GrpcStatus Unknown(string name)
    {
        Log.Refused(Number, name);
        return new GrpcStatus(GrpcStatusCode.NotFound, $"failed to generate secret for {name}: there is no secret of that name here");
    }
}
