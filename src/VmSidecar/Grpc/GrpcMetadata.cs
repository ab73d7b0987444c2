using System.Globalization;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>Names and fixed values of the headers of gRPC over HTTP/2, and how a status stands in them. Used by both sides.</summary>
internal static class GrpcMetadata
{
    public const string Status = "grpc-status";
    public const string Message = "grpc-message";
    public const string Timeout = "grpc-timeout";
    public const string Encoding = "grpc-encoding";
    public const string AcceptEncoding = "grpc-accept-encoding";
    public const string ContentType = "application/grpc";
    public const string UserAgent = "grpc-dotnet-vmsidecar/1";

    /// <summary>True for <c>application/grpc</c>, alone or followed by <c>+proto</c>, <c>;parameters</c>.</summary>
    public static bool IsGrpc(string? contentType) =>
        contentType is not null
        && contentType.StartsWith(ContentType, StringComparison.OrdinalIgnoreCase)
        && (contentType.Length == ContentType.Length || contentType[ContentType.Length] is '+' or ';');

    /// <summary>The status in these headers; null when there is none.</summary>
    public static GrpcStatus? ReadStatus(string? code, string? message)
    {
        if (code is null) { return null; }
        if (!int.TryParse(code, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
        {
            return new GrpcStatus(GrpcStatusCode.Unknown, $"malformed grpc-status '{code}'");
        }
        // Codes outside the table are valid on the wire; a client treats them as UNKNOWN.
        GrpcStatusCode known = number <= (int)GrpcStatusCode.Unauthenticated ? (GrpcStatusCode)number : GrpcStatusCode.Unknown;
        return new GrpcStatus(known, message is null ? "" : GrpcText.Decode(message));
    }

    /// <summary>The value of grpc-status.</summary>
    public static string Number(GrpcStatusCode code) => ((int)code).ToString(CultureInfo.InvariantCulture);
}
