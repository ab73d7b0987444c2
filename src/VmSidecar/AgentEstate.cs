using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Microsoft.Win32.SafeHandles;

using VmSidecar.Envoy;
using VmSidecar.Identity;
using VmSidecar.Linux.Memory;
using VmSidecar.Linux.Processes;

namespace VmSidecar;

/// <summary>
/// What an agent leaves to the one that replaces it in the same process: the sockets, the running Envoy, the certificate. Written as JSON into sealed memory, whose
/// descriptor is named in the environment; the key never touches a disk.
/// </summary>
/// <param name="From">Version of the agent that left it.</param>
/// <param name="Count">How many times this process has been replaced, the coming one included.</param>
/// <param name="Sockets">Descriptors of sockets, by name.</param>
/// <param name="Envoy">Null: none runs.</param>
/// <param name="Secrets">Null: there were none.</param>
internal sealed record AgentEstate(string From, int Count, IReadOnlyDictionary<string, int> Sockets, EnvoyEstate? Envoy, WorkloadSecrets? Secrets)
{
    /// <summary>Of the form below. An agent only gives way to one that reads the same.</summary>
    public const int Version = 1;

    private const int LongestHalf = 64 * 1024; // bytes of a line

    /// <summary>The variable's value for a descriptor.</summary>
    public static string Variable(SafeFileHandle memory) => string.Create(CultureInfo.InvariantCulture, $"{Version} {Number(memory)}");

    /// <summary>What the agent before has left in this process; null: nothing, or nothing that can be read. Its descriptors are this process's own from here on.</summary>
    /// <param name="environment">Of this process.</param>
    /// <param name="problem">Why it cannot be read, as a clause; null: it can, or nothing was left.</param>
    public static AgentEstate? Take(IReadOnlyDictionary<string, string> environment, out string? problem)
    {
        problem = null;
        if (!environment.TryGetValue(ChildEnvironment.Inheritance, out string? variable)) { return null; }
        (AgentEstate? estate, problem) = Take(variable.Split(' '));
        return estate;
    }

    private static (AgentEstate? Estate, string? Problem) Take(string[] variable)
    {
        if (variable is not [var version, var number] || !int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int memory)) { return (null, $"{ChildEnvironment.Inheritance} does not name a form and a descriptor"); }
        if (version != Version.ToString(CultureInfo.InvariantCulture)) { return (null, $"it is not of form {Version}, which this version reads"); }
        if (SealedMemory.Take(memory) is not { } content) { return (null, $"descriptor {memory} is not the sealed memory it should be in"); }
        try { return (Read((JsonObject)JsonNode.Parse(content)!).Claimed(), null); }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or ArgumentException or NullReferenceException or InvalidCastException or KeyNotFoundException)
        {
            return (null, $"it is damaged ({e.GetType().Name})"); // never its words: a key is in it
        }
    }

    /// <summary>Sealed memory with all of it. Throws Win32Exception.</summary>
    public SafeFileHandle Write() => SealedMemory.Create("vmsidecar-estate", Encoding.UTF8.GetBytes(ToJson().ToJsonString()));

    /// <summary>Every descriptor in it.</summary>
    public IEnumerable<int> Descriptors() => Envoy is null ? Sockets.Values : [.. Sockets.Values, Number(Envoy.Output), Number(Envoy.Error)];

    internal JsonObject ToJson() => new()
    {
        ["from"] = From,
        ["count"] = Count,
        ["sockets"] = new JsonObject(Sockets.Select(s => KeyValuePair.Create(s.Key, (JsonNode?)s.Value))),
        ["envoy"] = Envoy is null ? null : ToJson(Envoy),
        ["secrets"] = Secrets is null ? null : ToJson(Secrets),
    };

    private static JsonObject ToJson(EnvoyEstate envoy) => new()
    {
        ["pid"] = envoy.Process.Id,
        ["started"] = envoy.Process.Started,
        ["output"] = Number(envoy.Output),
        ["error"] = Number(envoy.Error),
        ["outputHalf"] = Convert.ToBase64String(envoy.Half.Output ?? []),
        ["errorHalf"] = Convert.ToBase64String(envoy.Half.Error ?? []),
        ["words"] = new JsonArray([.. envoy.Words.Select(w => (JsonNode)w)]),
        ["executable"] = envoy.Inputs.Executable,
        ["bootstrap"] = envoy.Inputs.Bootstrap,
        ["delta"] = envoy.Inputs.Delta,
        ["settings"] = envoy.Inputs.Settings,
        ["epoch"] = envoy.Epoch,
        ["starts"] = envoy.Starts,
        ["since"] = Text(envoy.Since),
        ["version"] = envoy.Version,
        ["drained"] = envoy.Drained,
    };

    private static JsonObject ToJson(WorkloadSecrets secrets) => new()
    {
        ["chain"] = secrets.ChainPem,
        ["key"] = secrets.KeyPem,
        ["roots"] = secrets.RootsPem,
        ["notBefore"] = Text(secrets.NotBefore),
        ["notAfter"] = Text(secrets.NotAfter),
        ["created"] = Text(secrets.Created),
        ["serial"] = secrets.Serial,
    };

    /// <summary>Its descriptors, from here on this process's own and closed in every child – all or, where one is missing, none: <see cref="LeftOpen"/> tells them by that.</summary>
    private AgentEstate Claimed()
    {
        foreach (int number in Descriptors())
        {
            if (!Descriptor.IsOpen(number)) { throw new FormatException($"descriptor {number} is not open"); }
        }
        foreach (int number in Descriptors()) { ProgramImage.CloseOnReplace(number); }
        return this with { Envoy = Envoy is null ? null : Envoy with { Output = new(Number(Envoy.Output), ownsHandle: true), Error = new(Number(Envoy.Error), ownsHandle: true) } };
    }

    /// <summary>Touches no descriptor.</summary>
    private static AgentEstate Read(JsonObject json)
    {
        ImmutableDictionary<string, int> sockets = ((JsonObject)json["sockets"]!).ToImmutableDictionary(s => s.Key, s => s.Value!.GetValue<int>(), StringComparer.Ordinal);
        return new AgentEstate(
            json["from"]!.GetValue<string>(), json["count"]!.GetValue<int>(), sockets,
            json["envoy"] is JsonObject envoy ? ReadEnvoy(envoy) : null, json["secrets"] is JsonObject secrets ? ReadSecrets(secrets) : null);
    }

    private static EnvoyEstate ReadEnvoy(JsonObject json) => new(
        new PeerProcess(json["pid"]!.GetValue<int>(), json["started"]!.GetValue<long>()), Handle(json["output"]!), Handle(json["error"]!))
    {
        Half = new HalfLines(Half(json["outputHalf"]!), Half(json["errorHalf"]!)),
        Words = [.. ((JsonArray)json["words"]!).Select(w => w!.GetValue<string>())],
        Inputs = new EnvoyInputs(json["executable"]!.GetValue<string>(), json["bootstrap"]!.GetValue<string>(), json["delta"]!.GetValue<bool>()) { Settings = json["settings"]!.GetValue<string>() },
        Epoch = json["epoch"]!.GetValue<int>(),
        Starts = json["starts"]!.GetValue<int>(),
        Since = Time(json["since"]!),
        Version = json["version"]?.GetValue<string>(),
        Drained = json["drained"]!.GetValue<bool>(),
    };

    private static WorkloadSecrets ReadSecrets(JsonObject json) => new(
        json["chain"]!.GetValue<string>(), json["key"]!.GetValue<string>(), json["roots"]!.GetValue<string>(),
        Time(json["notBefore"]!), Time(json["notAfter"]!), Time(json["created"]!), json["serial"]!.GetValue<string>());

    private static byte[] Half(JsonNode text) => Convert.FromBase64String(text.GetValue<string>()) is { Length: <= LongestHalf } half ? half : [];

    private static int Number(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    private static SafeFileHandle Handle(JsonNode number) => new(number.GetValue<int>(), ownsHandle: false);

    private static string Text(DateTimeOffset time) => time.ToString("O", CultureInfo.InvariantCulture);

    private static DateTimeOffset Time(JsonNode text) => DateTimeOffset.ParseExact(text.GetValue<string>(), "O", CultureInfo.InvariantCulture);
}
