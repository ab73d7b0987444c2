using VmSidecar.Benchmarks.Dns;
using VmSidecar.Benchmarks.Iptables;
using VmSidecar.Benchmarks.Sds;
using VmSidecar.Benchmarks.Xds;

if (args is ["xds-relay" or "dns-serve" or "dns-silent" or "dns-swap" or "sds-serve", ..])
{
    AppContext.SetData("System.Threading.ThreadPool.UnfairSemaphoreSpinLimit", 0); // the agent's code, as its project has it; who drives it stays as .NET makes it
}

// One verb per measurement: the first argument names it, the rest are its own.
return args switch
{
    ["dns-serve", .. string[] rest] => await DnsServe.RunAsync(rest),
    ["dns-start", .. string[] rest] => DnsStart.Run(rest),
    ["dns-silent", .. string[] rest] => await DnsSilent.RunAsync(rest),
    ["dns-load", .. string[] rest] => DnsLoad.Run(rest),
    ["dns-swap", .. string[] rest] => await DnsSwap.RunAsync(rest),
    ["iptables", ..] => await CaptureBench.RunAsync(),
    ["dns-table", .. string[] rest] => DnsTable.Run(rest),
    ["xds", .. string[] rest] => await RelayBenchmark.RunAsync(rest),
    ["xds-relay", .. string[] rest] => await RelayProgram.RunAsync(rest),
    ["sds-start", .. string[] rest] => await SdsStart.RunAsync(rest),
    ["sds-streams"] => await SdsStreams.RunAsync(),
    ["sds-serve", .. string[] rest] => await SdsServe.RunAsync(rest),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("usage: dns-serve PORT RESOLV_CONF HOSTS [portable] | dns-load PORT NAMES QPS SECONDS | dns-start NAME PORT QUESTION ROUNDS COMMAND... | dns-silent ADDRESS | dns-table HOSTS | dns-swap HOSTS | iptables | sds-start [AGENT] | sds-streams | xds [ROUNDS] [SMALL] [RELAY] | xds-relay SOCKET ISTIOD ROOTS_PEM STATE");
    return 2;
}
