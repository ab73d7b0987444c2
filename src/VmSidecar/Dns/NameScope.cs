using System.Text;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>What short names are relative to: the workload's namespace and the cluster's domain (reference 04 §3.1). Derived once from the options.</summary>
internal sealed class NameScope
{
    public NameScope(string workloadNamespace, string domain, bool compat110)
    {
        string[] labels = domain.TrimEnd('.').ToLowerInvariant().Split('.', StringSplitOptions.RemoveEmptyEntries);
        if (labels.Length > 0 && string.Equals(labels[0], workloadNamespace, StringComparison.OrdinalIgnoreCase)) { labels = labels[1..]; }
        string rest = string.Join('.', labels);
        DomainText = Encoding.ASCII.GetBytes(rest);
        Domain = rest.Length == 0 ? [] : WireName.Encode(rest) ?? [];
        FirstLabel = Domain.Length == 0 ? [] : [.. Domain[..(Domain[0] + 1)], 0];
        Namespace = WireName.Encode(workloadNamespace) ?? [0];
        NamespaceText = Encoding.ASCII.GetBytes(workloadNamespace.ToLowerInvariant());
        Compat110 = compat110;
    }

    /// <summary><c>svc.cluster.local</c> as text; a host's plain suffix is compared with it.</summary>
    public byte[] DomainText { get; }

    /// <summary>The same as a wire name; empty: no short names at all.</summary>
    public byte[] Domain { get; }

    /// <summary>Its first label (<c>svc.</c>) as a wire name.</summary>
    public byte[] FirstLabel { get; }

    /// <summary>The namespace as a wire name of one label.</summary>
    public byte[] Namespace { get; }

    public byte[] NamespaceText { get; }

    /// <summary>Answers as 1.10 gives them.</summary>
    public bool Compat110 { get; }
}
