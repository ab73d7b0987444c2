namespace VmSidecar.MeshLab.Lab;

/// <summary>A step did not show what it must; the message says what was seen.</summary>
internal sealed class LabException(string message) : Exception(message);
