using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Logging;

namespace VmSidecar.Identity;

/// <summary>Says once what has changed for better or worse, and publishes it. Owned by CertificateRotator, used by its loop only.</summary>
internal sealed class RotationAlarm(IdentityOptions options, IstiodAccess istiod, IdentityLog log, TimeProvider time, Published<IdentityStatus> status)
{
    private IdentityCondition _condition = IdentityCondition.Waiting;
    private DateTimeOffset? _lastSuccess;
    private string _lastError = "";
    private string _advice = "";
    private bool _clockTold;
    private bool _domainTold;
    private bool _willLapseTold;

    /// <summary>True when istiod refused the credentials last time.</summary>
    public bool IsUnauthenticated { get; private set; }

    /// <summary>Where the clock offset goes.</summary>
    public IdentityMeters? Meters { get; set; }

    /// <summary>An operation failed. The first of a row and every new reason are told, with what to do.</summary>
    public void Failed(CaFailure failure, WorkloadSecrets? held, int failures)
    {
        string error = failure.Status.ToString();
        string advice = istiod.ExplainRefusal(failure.Status);
        if (failures == 1 || !SameButNumbers(advice, _advice))
        {
            if (held is null) { log.FirstFailed(error); }
            else { log.RenewalFailed(error); }
            if (advice != failure.Status.Message) { log.Advice(advice); }
        }
        (_lastError, _advice) = (error, advice);
        IsUnauthenticated = failure.Reason == CaFailureReason.Unauthenticated;
        Look(held, failures);
        Publish(held, failures);
    }

    /// <summary>A certificate is in use.</summary>
    public void Succeeded(WorkloadSecrets held, int failuresBefore)
    {
        if (failuresBefore > 0) { log.Again(failuresBefore); }
        (_lastError, _advice, _lastSuccess) = ("", "", held.Created);
        IsUnauthenticated = false;
        Look(held, 0);
        ForeseeLapse(held);
        Publish(held, 0);
    }

    /// <summary>Looks at the clock: a certificate can lapse without anything happening.</summary>
    public void Look(WorkloadSecrets? held, int failures)
    {
        DateTimeOffset now = time.GetUtcNow();
        IdentityCondition condition = RotationPolicy.Condition(held, failures, now);
        if (condition == _condition) { return; }
        _condition = condition;
        if (condition == IdentityCondition.Lapsing) { log.Lapsing(GoDuration.Format(held!.NotAfter - now), _advice); }
        if (condition == IdentityCondition.Lapsed) { log.Lapsed(held!.NotAfter.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture), _advice); }
        Publish(held, failures);
    }

    /// <summary>A fresh certificate tells what istiod's clock says.</summary>
    public void CheckClock(WorkloadSecrets fresh, CaResult result)
    {
        TimeSpan offset = ClockOffset.AtLeast(fresh.NotBefore, result.SentAt, result.AnsweredAt);
        Meters?.SetClock(offset);
        bool off = offset.Duration() > options.ClockTolerance;
        if (off && !_clockTold) { log.ClockOff(GoDuration.Format(offset.Duration()), offset > TimeSpan.Zero ? "ahead of" : "behind"); }
        _clockTold = off;
        using var leaf = System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPem(result.Chain[0]);
        string domain = SpiffeName.TrustDomainOf(SpiffeName.Of(leaf) ?? "");
        if (domain != options.TrustDomain && !_domainTold) { log.OtherTrustDomain(domain, options.TrustDomain); }
        _domainTold = domain != options.TrustDomain;
    }

    /// <summary>Without a client certificate the token must live until the next renewal; that it will not can be said hours before.</summary>
    private void ForeseeLapse(WorkloadSecrets held)
    {
        using CertificatePair? pair = istiod.LoadPair(out _, out _);
        DateTimeOffset renewal = held.Created + (held.NotAfter - held.Created) * (1 - options.GraceRatio);
        string? token = istiod.Token.Read();
        DateTimeOffset? end = token is not null && TokenClaims.TryParse(token, out TokenClaims? claims) ? claims.Expires : null;
        bool lapses = (pair is null || pair.NotAfter < renewal) && (token is null || end < renewal);
        if (lapses && !_willLapseTold) { log.WillLapse(token is null ? "there is no token" : $"the token ends at {end!.Value.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}", $"{renewal.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}"); }
        _willLapseTold = lapses;
    }

    /// <summary>Two advices that differ only in a time of day are the same to a reader.</summary>
    private static bool SameButNumbers(string one, string other) => one.Where(c => !char.IsAsciiDigit(c)).SequenceEqual(other.Where(c => !char.IsAsciiDigit(c)));

    private void Publish(WorkloadSecrets? held, int failures)
    {
        string? token = istiod.Token.Read();
        DateTimeOffset? until = token is not null && TokenClaims.TryParse(token, out TokenClaims? claims) ? claims.Expires : null;
        status.Set(new IdentityStatus(_condition, held?.NotAfter, until, _lastSuccess, failures, _lastError, _advice));
    }
}
