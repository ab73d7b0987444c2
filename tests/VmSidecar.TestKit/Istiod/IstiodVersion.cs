namespace VmSidecar.TestKit.Istiod;

/// <summary>Which istiod is played: they differ in error codes, nonces, answers to changed names, virtual IPs and delta.</summary>
internal enum IstiodVersion
{
    V1_10,
    V1_31,
}
