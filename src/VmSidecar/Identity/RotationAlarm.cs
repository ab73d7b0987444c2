using System.Globalization;
using System.Security.Cryptography.X509Certificates;

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
    private string _foreseen = "";
    private bool _clockTold;
    private bool _domainTold;

    /// <summary>True when istiod refused the credentials last time.</summary>
    public bool IsUnauthenticated { get; private set; }

    /// <summary>Where the clock offset goes.</summary>
    public IdentityMeters? Meters { get; set; }

    /// <summary>An operation failed. The first of a row and every new reason are told, in one line with what to do.</summary>
    public void Failed(CaFailure failure, WorkloadSecrets? held, int failures)
    {
        string error = failure.Status.ToString();
        string advice = istiod.ExplainRefusal(failure.Status);
        if (failures == 1 || !RefusalNews.Same(advice, _advice))
        {
            string told = advice == failure.Status.Message ? error : advice.StartsWith(failure.Status.Message, StringComparison.Ordinal) ? error + advice[failure.Status.Message.Length..] : $"{error}: {advice}";
            if (held is null) { log.FirstFailed(told); }
            else { log.RenewalFailed(told); }
        }
        istiod.News.Told(advice);
        (_lastError, _advice) = (error, advice);
        IsUnauthenticated = failure.Reason == CaFailureReason.Unauthenticated;
        Look(held, failures, renewal: null);
        Publish(held, failures);
    }

    /// <summary>A certificate is in use until <paramref name="renewal"/>.</summary>
    public void Succeeded(WorkloadSecrets held, int failuresBefore, DateTimeOffset renewal)
    {
        istiod.News.Release();
        if (failuresBefore > 0) { log.Again(failuresBefore); }
        (_lastError, _advice, _lastSuccess) = ("", "", held.Created);
        IsUnauthenticated = false;
        Look(held, 0, renewal);
        Publish(held, 0);
    }

    /// <summary>Looks at the clock and at the credentials: both can lapse without anything happening.</summary>
    /// <param name="held">The certificate in use; null: none.</param>
    /// <param name="failures">Operations failed in a row.</param>
    /// <param name="renewal">When the next operation is due; null: it is under way.</param>
    public void Look(WorkloadSecrets? held, int failures, DateTimeOffset? renewal)
    {
        DateTimeOffset now = time.GetUtcNow();
        IdentityCondition condition = RotationPolicy.Condition(held, failures, now);
        string foreseen = held is null || failures > 0 || renewal is not { } when ? "" : Foresee(when);
        bool news = condition != _condition || foreseen != _foreseen;
        if (condition != _condition)
        {
            _condition = condition;
            if (condition == IdentityCondition.Lapsing) { log.Lapsing(GoDuration.Format(held!.NotAfter - now), _advice); }
            if (condition == IdentityCondition.Lapsed) { log.Lapsed(Utc(held!.NotAfter), _advice); }
        }
        if (foreseen.Length > 0 && !RefusalNews.Same(foreseen, _foreseen)) { log.WillLapse(foreseen); }
        _foreseen = foreseen;
        if (news) { Publish(held, failures); }
    }

    /// <summary>Where an external SDS issues, the token is all that this agent has to look after: it opens the streams to istiod.</summary>
    public void LookAtToken()
    {
        DateTimeOffset now = time.GetUtcNow();
        string foreseen = Foresee(now + RotationPolicy.TokenMargin);
        if (foreseen.Length > 0 && !RefusalNews.Same(foreseen, _foreseen)) { log.WillLapse(foreseen); }
        _foreseen = foreseen;
        status.Set(new IdentityStatus(IdentityCondition.Good, null, TokenEnd(istiod.Token.Read()), null, 0, "", foreseen) { Source = "external SDS" });
    }

    /// <summary>A fresh certificate tells what istiod's clock says.</summary>
    public void CheckClock(WorkloadSecrets fresh, CaResult result)
    {
        TimeSpan offset = istiod.MeasuredOffset ?? ClockOffset.AtLeast(fresh.NotBefore, result.SentAt, result.AnsweredAt);
        Meters?.SetClock(offset);
        bool off = offset.Duration() > options.ClockTolerance;
        if (off && !_clockTold) { log.ClockOff(GoDuration.Format(offset.Duration()), offset > TimeSpan.Zero ? "ahead of" : "behind"); }
        _clockTold = off;
        using X509Certificate2 leaf = X509Certificate2.CreateFromPem(result.Chain[0]);
        string domain = SpiffeName.TrustDomainOf(SpiffeName.Of(leaf) ?? "");
        if (domain != options.TrustDomain && !_domainTold) { log.OtherTrustDomain(domain, options.TrustDomain); }
        _domainTold = domain != options.TrustDomain;
    }

    /// <summary>At the next renewal the client certificate or the token must still be good; that neither will be can be said hours before. Empty: one will.</summary>
    private string Foresee(DateTimeOffset renewal)
    {
        if (options.TokenSource != TokenSourceKind.File) { return ""; } // the agent fetches a new one itself
        using CertificatePair? pair = istiod.LoadPair(out _, out _);
        if (pair is not null && pair.NotAfter >= renewal && SpiffeName.SameWorkload(SpiffeName.Of(pair.Leaf), options.SpiffeId)) { return ""; }
        string? token = istiod.Token.Read();
        DateTimeOffset? end = TokenEnd(token);
        if (token is not null && (end is null || end >= renewal)) { return ""; }
        string problem = token is null ? "there is no token" : $"the token ends at {Utc(end!.Value)}";
        return $"{problem} and nothing else can prove this VM's identity when it is asked for next ({Utc(renewal)}). Set PROV_CERT and OUTPUT_CERTS to one folder, or provide a new token in time";
    }

    private void Publish(WorkloadSecrets? held, int failures) => status.Set(new IdentityStatus(
        _condition, held?.NotAfter, TokenEnd(istiod.Token.Read()), _lastSuccess, failures, _lastError, _advice.Length > 0 ? _advice : _foreseen));

    private static DateTimeOffset? TokenEnd(string? token) => token is not null && TokenClaims.TryParse(token, out TokenClaims? claims) ? claims.Expires : null;

    private static string Utc(DateTimeOffset when) => when.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
