using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.Identity;

/// <summary>Pure reading and merging of PEM certificates. Blocks that are no certificates are counted, not thrown.</summary>
internal static class PemBundle
{
    private const string Label = "CERTIFICATE";

    /// <summary>Every certificate of a text in order; <paramref name="broken"/> counts blocks that do not parse.</summary>
    public static X509Certificate2Collection Read(ReadOnlySpan<char> text, out int broken)
    {
        X509Certificate2Collection found = [];
        broken = 0;
        while (PemEncoding.TryFind(text, out PemFields fields))
        {
            if (text[fields.Label].SequenceEqual(Label))
            {
                byte[] der = new byte[fields.DecodedDataLength];
                if (Convert.TryFromBase64Chars(text[fields.Base64Data], der, out _) && TryLoad(der, out X509Certificate2? certificate)) { found.Add(certificate); }
                else { broken++; }
            }
            text = text[fields.Location.End.Value..];
        }
        return found;
    }

    /// <summary>The union of several bundles as the newer agent writes it: each certificate once, sorted, joined by one line break, none at the end.</summary>
    public static string Merge(params IEnumerable<string> bundles)
    {
        var all = new SortedSet<string>(StringComparer.Ordinal);
        foreach (string bundle in bundles)
        {
            foreach (X509Certificate2 certificate in Read(bundle, out _))
            {
                all.Add(certificate.ExportCertificatePem());
                certificate.Dispose();
            }
        }
        return string.Join('\n', all);
    }

    /// <summary>The certificates that both hold, in the form of <see cref="Merge"/>.</summary>
    public static string Common(string bundle, string other)
    {
        X509Certificate2Collection first = Read(bundle, out _), second = Read(other, out _);
        try { return Merge(first.Where(second.Contains).Select(c => c.ExportCertificatePem())); }
        finally { foreach (X509Certificate2 certificate in first.Concat(second)) { certificate.Dispose(); } }
    }

    /// <summary>Joins elements of a CA response, adding a line break only where an element lacks one.</summary>
    public static string Concatenate(IEnumerable<string> elements) => string.Concat(elements.Select(e => e.EndsWith('\n') ? e : e + "\n"));

    private static bool TryLoad(byte[] der, [NotNullWhen(true)] out X509Certificate2? certificate)
    {
        try
        {
            certificate = X509CertificateLoader.LoadCertificate(der);
            return true;
        }
        catch (CryptographicException)
        {
            certificate = null;
            return false;
        }
    }
}
