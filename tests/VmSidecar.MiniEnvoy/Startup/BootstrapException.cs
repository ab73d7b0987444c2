namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>A bootstrap that Envoy would refuse; ends the process with code 1.</summary>
internal sealed class BootstrapException(string message) : Exception(message);
