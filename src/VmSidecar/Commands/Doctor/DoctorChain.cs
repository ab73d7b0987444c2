namespace VmSidecar.Commands.Doctor;

/// <summary>Runs checks in order. A check whose ground has failed is not reached, so the first failure reads as the cause and nothing below it as noise.</summary>
internal static class DoctorChain
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20); // per check; each has its own, shorter limits

    /// <summary>The checks of the product, causes before effects.</summary>
    public static IReadOnlyList<IDoctorCheck> All { get; } =
    [
        new ConfigurationCheck(), new RootsCheck(), new ClockCheck(), new TokenCheck(),
        new NameCheck(), new TcpCheck(), new TlsCheck(), new AuthenticationCheck(), new XdsCheck(),
        new AgentCheck(), new CertificateCheck(), new RegistrationCheck(),
        new EnvoyBinaryCheck(), new EnvoyCheck(), new RulesCheck(), new DnsCheck(), new ApplicationCheck(),
    ];

    public static async Task<IReadOnlyList<Diagnosis>> RunAsync(IReadOnlyList<IDoctorCheck> checks, DoctorContext context, CancellationToken stop)
    {
        List<Diagnosis> all = [];
        HashSet<string> broken = new(StringComparer.Ordinal);
        foreach (IDoctorCheck check in checks)
        {
            Finding finding = check.Needs.FirstOrDefault(broken.Contains) is { } cause
                ? new Finding(Outcome.NotReached, $"not reached: {cause} comes first")
                : await RunOneAsync(check, context, stop);
            if (finding.Outcome is Outcome.Failed or Outcome.NotReached) { broken.Add(check.Code); }
            all.Add(new Diagnosis(check.Code, check.Title, finding));
        }
        return all;
    }

    private static async Task<Finding> RunOneAsync(IDoctorCheck check, DoctorContext context, CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(Patience, context.Time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        try
        {
            return await check.RunAsync(context, both.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return Finding.Fail($"no answer within {Patience.TotalSeconds:0} s", "Try again; if it stays so, look at the load of this host");
        }
    }
}
