using System.Globalization;
using VmSidecar.Fuzz.Engine;
using VmSidecar.Fuzz.Targets;

// instrument FOLDER | run OUTPUT CORPUS SECONDS [TARGET...] | prune OUTPUT CORPUS [TARGET...] | list; called by ./build.sh fuzz
Coverage.Begin();
switch (args)
{
    case ["list"]:
        foreach (FuzzTarget target in FuzzTargets.All) { Console.WriteLine(target.Name); }
        return 0;
    case ["instrument", string folder]:
        return Instrumenter.TryRewrite(folder) ? 0 : 1;
    case ["run", string output, string corpus, string seconds, .. string[] names]:
    {
        var time = TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture));
        int findings = 0;
        foreach (FuzzTarget target in FuzzTargets.Named(names)) { findings += new Fuzzer(target, output, Random.Shared.Next()).Run(time, new Corpus(Path.Combine(corpus, target.Name)).Load()); }
        return findings == 0 ? 0 : 1;
    }
    case ["prune", string output, string corpus, .. string[] names]:
        foreach (FuzzTarget target in FuzzTargets.Named(names))
        {
            var kept = new Corpus(Path.Combine(corpus, target.Name));
            List<byte[]> chosen = CorpusPruner.Choose(target, [.. kept.Load(), .. new Corpus(Path.Combine(output, "corpus", target.Name)).Load(), .. target.Seeds()]);
            foreach (byte[] input in chosen) { kept.Save(input); }
            Console.WriteLine($"{target.Name,-14} {chosen.Count} inputs");
        }
        return 0;
    default:
        Console.Error.WriteLine("usage: list | instrument FOLDER | run OUTPUT CORPUS SECONDS [TARGET...] | prune OUTPUT CORPUS [TARGET...]");
        return 2;
}
