namespace VmSidecar.Dns;

/// <summary>A port of a host that has a virtual IP of the agent's.</summary>
/// <param name="Host">In lower case.</param>
/// <param name="Address">The virtual IP as text.</param>
/// <param name="Port">A port its clusters name.</param>
internal readonly record struct VipService(string Host, string Address, ushort Port)
{
    /// <summary>Where its connections go.</summary>
    public string Cluster => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"outbound|{Port}||{Host}");

    /// <summary>The name istiod would give its listener.</summary>
    public string Listener => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Address}_{Port}");
}
