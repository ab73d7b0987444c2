using System.Collections.Immutable;
using System.Globalization;

namespace VmSidecar.Configuration;

/// <summary>Reads VMSIDECAR_SDS_PEERS: users that may ask for secrets, by name or uid, separated by commas. The classic agent lets every local user have the private key.</summary>
internal static class SdsPeers
{
    private const string Name = "VMSIDECAR_SDS_PEERS";

    /// <summary>uids; null: every local user, as in the classic agent.</summary>
    public static ImmutableArray<uint>? Read(SettingReader settings, HostPaths paths)
    {
        string text = settings.NonEmptyText(Name, "any");
        if (text == "any") { return null; }
        settings.Environment.TryGet(Name, out Setting setting);
        CaptureHost host = CaptureHost.Read(paths);
        var users = ImmutableArray.CreateBuilder<uint>();
        foreach (string user in text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (host.User(user) is { } known) { users.Add(known.Uid); }
            else if (uint.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out uint uid)) { users.Add(uid); }
            else { settings.Mistake(Name, setting, $"names '{user}', which is no user of this host", "Write names or uids separated by commas, or any", 0); }
        }
        return users.ToImmutable();
    }
}
