using VmSidecar.Benchmarks.Dns;

// One verb per measurement: the first argument names it, the rest are its own.
return args switch
{
    ["dns-serve", .. string[] rest] => await DnsServe.RunAsync(rest),
    ["dns-table", .. string[] rest] => DnsTable.Run(rest),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("usage: dns-serve PORT RESOLV_CONF HOSTS | dns-table HOSTS");
    return 2;
}
