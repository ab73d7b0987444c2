using Xunit;

namespace VmSidecar.Package.Tests.Machines;

/// <summary>What <c>./build.sh</c> has made and names in the environment.</summary>
/// <param name="Root">A debootstrapped system, read only: VMSIDECAR_MACHINE_ROOT.</param>
/// <param name="Package">The package under test: VMSIDECAR_DEB.</param>
/// <param name="Envoy">An Envoy that the unit's sandbox lets run (a native one): VMSIDECAR_NATIVE_ENVOY.</param>
internal sealed record PackageInputs(string Root, string Package, string Envoy)
{
    /// <summary>Reads the environment; skips the test, with the reason, where something is missing.</summary>
    public static PackageInputs Require()
    {
        Assert.SkipUnless(TestKit.Namespaces.NetworkNamespace.IsPossible, "booting a machine needs root");
        System.Collections.IDictionary environment = Environment.GetEnvironmentVariables();
        return new PackageInputs(Of("VMSIDECAR_MACHINE_ROOT"), Of("VMSIDECAR_DEB"), Of("VMSIDECAR_NATIVE_ENVOY"));

        string Of(string name)
        {
            string value = environment[name] as string ?? "";
            Assert.SkipWhen(value.Length == 0, $"{name} is not set; './build.sh test' prepares the machines");
            Assert.True(Path.Exists(value), $"{name}={value} does not exist");
            return value;
        }
    }
}
