using VmSidecar.Fuzz.Engine;
using VmSidecar.Fuzz.Targets;
using VmSidecar.Tests.House;
using Xunit;

namespace VmSidecar.Tests.Fuzz;

/// <summary>Replays what fuzzing found worth keeping, findings among it: no parser may stumble over an input again.</summary>
public sealed class CorpusTests
{
    public static TheoryData<string> Targets => [.. FuzzTargets.All.Select(t => t.Name)];

    [Theory]
    [MemberData(nameof(Targets))]
    public void No_parser_stumbles_over_its_corpus(string name)
    {
        FuzzTarget target = FuzzTargets.Named([name]).Single();
        var corpus = new Corpus(Path.Combine(Repository.Root, "tests/VmSidecar.Fuzz/Corpus", name));
        byte[][] inputs = [.. corpus.Load(), .. target.Seeds(), []];
        Assert.True(inputs.Length > 1, "neither a corpus nor a seed");
        foreach (byte[] input in inputs) { Assert.Null(Record.Exception(() => target.Run(input))); }
    }

    /// <summary>Each input of the corpus cut short, and with each of some bytes changed: cheap neighbours of what is known to reach far.</summary>
    [Theory]
    [MemberData(nameof(Targets))]
    public void Nor_over_its_neighbours(string name)
    {
        FuzzTarget target = FuzzTargets.Named([name]).Single();
        byte[][] inputs = [.. new Corpus(Path.Combine(Repository.Root, "tests/VmSidecar.Fuzz/Corpus", name)).Load().Take(10), .. target.Seeds()];
        var random = new Random(1);
        var mutator = new Mutator(random, Fuzzer.MaxLength);
        int rounds = name is "settings" or "wasm-download" or "nft-list" or "last-table" ? 2 : 20; // those read files
        foreach (byte[] input in inputs.Where(i => i.Length < 4096))
        {
            for (int round = 0; round < rounds; round++)
            {
                byte[] near = round % 2 == 0 ? input[..random.Next(input.Length + 1)] : mutator.Mutate(input, inputs[random.Next(inputs.Length)], target.Tokens);
                Exception? thrown = Record.Exception(() => target.Run(near));
                Assert.True(thrown is null, $"{thrown}\ninput: {Convert.ToHexString(near)}");
            }
        }
    }
}
