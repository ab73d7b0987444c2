using System.Reflection;
using System.Runtime.InteropServices;

namespace VmSidecar.Commands;

/// <summary>What this build is: version and commit from the assembly, runtime, and the protocol versions spoken.</summary>
internal static class BuildVersion
{
    /// <summary>E.g. <c>0.1.0</c>.</summary>
    public static string Number => Informational.Split('+')[0];

    /// <summary>Commit the build was made from, or <c>unknown</c>.</summary>
    public static string Commit => Informational.Split('+') is [_, { Length: > 0 } commit, ..] ? commit : "unknown";

    /// <summary>Runtime and machine, e.g. <c>.NET 10.0.0 linux-x64</c>.</summary>
    public static string Runtime => $"{RuntimeInformation.FrameworkDescription} {RuntimeInformation.RuntimeIdentifier}";

    /// <summary>Control planes this agent is a drop-in for.</summary>
    public const string Protocols = "xDS v3 (SotW, delta), SDS v3, NDS v1, istio.v1.auth; Istio 1.10 to 1.31";

    private static string Informational { get; } =
        typeof(BuildVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "0.0.0";
}
