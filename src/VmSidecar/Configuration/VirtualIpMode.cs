namespace VmSidecar.Configuration;

/// <summary>When the agent answers with a virtual IP of its own for hosts that istiod leaves without an address.</summary>
internal enum VirtualIpMode
{
    /// <summary>Never.</summary>
    Off,

    /// <summary>Only where upstream says that the name does not exist: a public name keeps its public address.</summary>
    NxDomain,

    /// <summary>Always.</summary>
    All,
}
