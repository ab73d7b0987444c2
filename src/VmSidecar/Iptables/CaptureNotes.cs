using VmSidecar.Lifecycle;

namespace VmSidecar.Iptables;

/// <summary>
/// Small files beside the lock that say what the rules themselves cannot: written whole or not at all (temporary file, rename), before the change they are
/// about, so that a disk that is full or read-only is met while the host is still as it was. Under /run they end with the boot, as the rules do.
/// </summary>
/// <param name="folder">Where they are; made when it is missing.</param>
internal sealed class CaptureNotes(string folder)
{
    /// <summary>Its lines; empty: there is no such note, or it cannot be read, which is met again when it is written.</summary>
    public string Read(string name)
    {
        try
        {
            return File.Exists(At(name)) ? File.ReadAllText(At(name)) : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <summary>Replaces it.</summary>
    /// <exception cref="FatalException">It cannot be written; the old one is as it was.</exception>
    public void Write(string name, string text) => Write(name, text, isWhole: true);

    /// <summary>Finds out whether there is room for a text as long as <paramref name="text"/>; the note stays as it is.</summary>
    /// <exception cref="FatalException">There is not.</exception>
    public void Reserve(string name, string text) => Write(name, text, isWhole: false);

    /// <summary>Removes it; where that is refused it stays: a note about rules that are gone does no harm.</summary>
    public void Forget(string name)
    {
        Remove(Unfinished(name));
        Remove(At(name));
    }

    /// <summary>The one message for a folder that takes no file.</summary>
    public static FatalException Unwritable(string folder, Exception cause) => cause is UnauthorizedAccessException
        ? new("iptables", $"{folder} cannot be written", "Run as root", cause)
        : new("iptables", $"{folder} cannot be written, so no rule was put on: {cause.Message.TrimEnd('.')}", "Free space there, or mount it writable, and run it again", cause);

    private void Write(string name, string text, bool isWhole)
    {
        try
        {
            Directory.CreateDirectory(folder);
            File.WriteAllText(Unfinished(name), text);
            if (isWhole) { File.Move(Unfinished(name), At(name), overwrite: true); }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Remove(Unfinished(name));
            throw Unwritable(folder, e);
        }
    }

    private static void Remove(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // read-only
        }
    }

    private string Unfinished(string name) => At(name) + ".new";

    private string At(string name) => Path.Combine(folder, name);
}
