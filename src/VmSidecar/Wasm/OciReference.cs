namespace VmSidecar.Wasm;

/// <summary>Where an image is: registry, repository, and tag or digest. Immutable.</summary>
/// <param name="Registry">Host and port to ask.</param>
/// <param name="Repository">Path in it.</param>
/// <param name="Tag">Tag, or <c>sha256:…</c>.</param>
internal sealed record OciReference(string Registry, string Repository, string Tag)
{
    private const string DockerHub = "docker.io", DockerHubHost = "registry-1.docker.io";

    /// <summary>True where the tag names one content for ever.</summary>
    public bool IsDigest => Tag.StartsWith("sha256:", StringComparison.Ordinal);

    /// <summary>Reads <c>oci://host[:port]/path[:tag|@digest]</c>; the tag is latest where none is given. False when it is none.</summary>
    public static bool TryParse(string uri, out OciReference reference)
    {
        reference = new OciReference("", "", "");
        string text = uri.StartsWith("oci://", StringComparison.Ordinal) ? uri["oci://".Length..] : uri;
        int slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash <= 0 || slash == text.Length - 1) { return false; }
        (string registry, string rest) = (text[..slash], text[(slash + 1)..]);
        string tag = "latest";
        int at = rest.IndexOf('@', StringComparison.Ordinal);
        if (at >= 0) { (rest, tag) = (rest[..at], rest[(at + 1)..]); }
        int colon = rest.LastIndexOf(':');
        if (colon > rest.LastIndexOf('/'))
        {
            if (at < 0) { tag = rest[(colon + 1)..]; } // a digest beats a tag
            rest = rest[..colon];
        }
        if (rest.Length == 0 || tag.Length == 0 || !Uri.TryCreate($"https://{registry}/v2/{rest}/manifests/{tag}", UriKind.Absolute, out _)) { return false; }
        bool hub = registry == DockerHub;
        reference = new OciReference(hub ? DockerHubHost : registry, hub && !rest.Contains('/', StringComparison.Ordinal) ? "library/" + rest : rest, tag);
        return true;
    }
}
