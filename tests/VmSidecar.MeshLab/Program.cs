using System.Runtime.InteropServices;

using VmSidecar.MeshLab.Scenario;
using VmSidecar.MeshLab.Web;
using VmSidecar.TestKit.Istiod.Control;

// mesh-lab run [--once] | istiod ... | web ADDRESS PORT TEXT | probe NAME
using var stop = new CancellationTokenSource();
using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using PosixSignalRegistration terminate = args is ["istiod", ..] ? interrupt : PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
return args switch
{
    ["run", .. string[] rest] => await LabRun.RunAsync(rest, stop.Token),
    ["istiod", .. string[] rest] => await FakeIstiodProgram.RunAsync(rest),
    ["web", string address, string port, string text] => await WelcomeServer.RunAsync(address, int.Parse(port, System.Globalization.CultureInfo.InvariantCulture), text, stop.Token),
    ["probe", string name] => await VmSidecar.MeshLab.Lab.StartProbe.RunAsync(name, stop.Token),
    _ => Usage(),
};

void Stop(PosixSignalContext signal)
{
    signal.Cancel = true;
    stop.Cancel();
}

static int Usage()
{
    Console.Error.WriteLine("mesh-lab run [--once] [--figures] --vmsidecar FILE --mini-envoy DIR; ./build.sh run calls it");
    return 2;
}
