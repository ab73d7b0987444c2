using System.Buffers;
using System.Text;
using System.Text.Json;
using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>The name table as the classic agent's <c>/debug/ndsz</c> shows it: what istiod sent, and each further name a host answers to, with a dot at its end (reference 04 §7).</summary>
internal static class NameTableJson
{
    /// <summary>JSON text of an encoded table that was accepted.</summary>
    public static string Write(ReadOnlySpan<byte> nds, NameScope scope)
    {
        var buffer = new ArrayBufferWriter<byte>(2 * nds.Length + 64);
        using var json = new Utf8JsonWriter(buffer);
        var further = new SortedDictionary<string, List<string>>(StringComparer.Ordinal);
        var listed = new HashSet<string>(StringComparer.Ordinal);
        json.WriteStartObject();
        json.WriteStartObject("table");
        var reader = new NdsReader(nds);
        while (reader.TryReadHost(out NdsHost host))
        {
            if (!listed.Add(Text(host.Name))) { continue; }
            List<string> addresses = WriteHost(json, host, out List<string> alternates);
            foreach (string name in Further(host, alternates, scope)) { further.TryAdd(name, addresses); }
        }
        foreach ((string name, List<string> addresses) in further)
        {
            if (listed.Contains(name)) { continue; }
            json.WriteStartObject(name);
            WriteList(json, "ips", addresses);
            json.WriteString("registry", "Kubernetes"); // the classic agent writes this for every name it adds
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteEndObject();
        json.Flush();
        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    private static List<string> WriteHost(Utf8JsonWriter json, NdsHost host, out List<string> alternates)
    {
        List<string> addresses = [];
        alternates = [];
        var fields = new ProtoReader(host.Fields);
        while (fields.Next())
        {
            if (fields.Is(NdsHost.Ips)) { addresses.Add(Text(fields.Bytes)); }
            if (fields.Is(NdsHost.AltHosts)) { alternates.Add(Text(fields.Bytes)); }
        }
        json.WriteStartObject(Text(host.Name));
        WriteList(json, "ips", addresses);
        if (host.Registry.Length > 0) { json.WriteString("registry", host.Registry); }
        if (host.ShortName.Length > 0) { json.WriteString("shortname", host.ShortName); }
        if (host.Namespace.Length > 0) { json.WriteString("namespace", host.Namespace); }
        WriteList(json, "altHosts", alternates);
        json.WriteEndObject();
        return addresses;
    }

    /// <summary>The names of reference 04 §3.1, search domains left out.</summary>
    private static List<string> Further(NdsHost host, List<string> alternates, NameScope scope)
    {
        string name = Text(host.Name), domain = Encoding.ASCII.GetString(scope.DomainText);
        List<string> names = [name.EndsWith('.') ? name : name + "."];
        if (!host.IsKubernetes || domain.Length == 0 || !name.EndsWith(domain, StringComparison.OrdinalIgnoreCase)) { return names; }
        string shortName = Text(host.ShortName), ns = Text(host.Namespace);
        if (shortName.Length > 0 && ns.Length > 0)
        {
            names.Add($"{shortName}.{ns}.");
            names.Add($"{shortName}.{ns}.{domain.Split('.')[0]}.");
            if (string.Equals(ns, Encoding.ASCII.GetString(scope.NamespaceText), StringComparison.OrdinalIgnoreCase)) { names.Add($"{shortName}."); }
        }
        names.AddRange(alternates.Select(a => a.EndsWith('.') ? a : a + "."));
        return names;
    }

    private static void WriteList(Utf8JsonWriter json, string key, List<string> values)
    {
        if (values.Count == 0) { return; }
        json.WriteStartArray(key);
        foreach (string value in values) { json.WriteStringValue(value); }
        json.WriteEndArray();
    }

    private static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);
}
