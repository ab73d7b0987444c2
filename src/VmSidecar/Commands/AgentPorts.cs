using VmSidecar.Configuration;

namespace VmSidecar.Commands;

/// <summary>The ports of this host's agent and Envoy, from the same configuration the daemon reads. What cannot be read (a file of another user) counts as not set.</summary>
/// <param name="Status">The agent's status port: <c>statusPort</c>, 15020 by default.</param>
/// <param name="Admin">Envoy's admin port: <c>proxyAdminPort</c>, 15000 by default.</param>
internal sealed record AgentPorts(int Status, int Admin)
{
    /// <summary>The ports in force below a root folder.</summary>
    /// <param name="cli">Gives the inherited environment.</param>
    /// <param name="root">The folder all classic paths are below.</param>
    public static AgentPorts Of(Cli cli, string root) => Of(ConfigLoad.Read(new HostPaths(root), cli.Environment, CommandLineFlags.None, new HostNetwork()));

    /// <summary>The ports of a configuration that is read already.</summary>
    public static AgentPorts Of(ConfigLoad load) => new(load.Draft.Status.Port, load.Draft.Envoy.AdminPort); // also where another setting is wrong: the agent that runs began without that mistake
}
