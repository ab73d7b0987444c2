using System.Runtime.InteropServices;

namespace VmSidecar.Fuzz.Engine;

/// <summary>Which branches inputs take, in AFL's form: one byte a branch, counted in steps. Empty where the assemblies were not rewritten: then every input looks alike.</summary>
internal sealed unsafe class Coverage
{
    private const int Size = 1 << 16;

    private static readonly byte* s_map = (byte*)NativeMemory.AllocZeroed(Size); // one a process, as the rewritten code has one place to write to

    private readonly byte[] _seen = new byte[Size];

    /// <summary>Gives rewritten code a place to write to; before any of it runs.</summary>
    public static void Begin()
    {
#if COVERAGE
        SharpFuzz.Common.Trace.SharedMem = s_map;
#endif
    }

    /// <summary>True when rewritten assemblies report.</summary>
    public bool IsOn { get; private set; }

    /// <summary>Branches seen so far.</summary>
    public int Branches { get; private set; }

    /// <summary>Before each input.</summary>
    public void Clear()
    {
        NativeMemory.Clear(s_map, Size);
#if COVERAGE
        SharpFuzz.Common.Trace.PrevLocation = 0;
#endif
    }

    /// <summary>True when the input took a branch, or took one more often, than any before.</summary>
    public bool TakeNew()
    {
        bool isNew = false;
        var words = new ReadOnlySpan<ulong>(s_map, Size / sizeof(ulong));
        for (int i = 0; i < words.Length; i++)
        {
            if (words[i] == 0) { continue; }
            for (int at = i * sizeof(ulong); at < (i + 1) * sizeof(ulong); at++)
            {
                byte step = Step(s_map[at]);
                if ((step & ~_seen[at]) == 0) { continue; }
                if (_seen[at] == 0) { Branches++; }
                _seen[at] |= step;
                isNew = IsOn = true;
            }
        }
        return isNew;
    }

    /// <summary>The branches of the last input, with their counts in steps.</summary>
    public List<int> Taken()
    {
        List<int> taken = [];
        for (int at = 0; at < Size; at++)
        {
            if (s_map[at] != 0) { taken.Add((at << 8) | Step(s_map[at])); }
        }
        return taken;
    }

    private static byte Step(byte count) => count switch
    {
        0 => 0, 1 => 1, 2 => 2, 3 => 4, < 8 => 8, < 16 => 16, < 32 => 32, < 128 => 64, _ => 128,
    };
}
