namespace VmSidecar.Fuzz.Engine;

/// <summary>One parser under test.</summary>
/// <param name="Name">As the command line and the folder of its corpus call it.</param>
/// <param name="Run">Feeds one input; throws when the parser did, or when a property of it does not hold.</param>
/// <param name="Seeds">Inputs to begin with, besides the corpus.</param>
/// <param name="Tokens">Words the format knows; the mutator puts them in.</param>
internal sealed record FuzzTarget(string Name, Action<byte[]> Run, Func<IEnumerable<byte[]>> Seeds, params byte[][] Tokens)
{
    /// <summary>Throws when a property does not hold.</summary>
    public static void Require(bool holds, string property)
    {
        if (!holds) { throw new InvalidOperationException($"does not hold: {property}"); }
    }
}
