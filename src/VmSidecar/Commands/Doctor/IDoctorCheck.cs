namespace VmSidecar.Commands.Doctor;

/// <summary>One link of the causal chain. Its code never changes: operators and alarms refer to it.</summary>
internal interface IDoctorCheck
{
    /// <summary>Stable, e.g. <c>NET002</c>.</summary>
    string Code { get; }

    /// <summary>A few words.</summary>
    string Title { get; }

    /// <summary>Codes of the checks without which this one says nothing.</summary>
    IReadOnlyList<string> Needs { get; }

    /// <summary>Looks. Bounded in time; changes nothing on the host.</summary>
    Task<Finding> RunAsync(DoctorContext context, CancellationToken stop);
}
