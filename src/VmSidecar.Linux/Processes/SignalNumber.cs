namespace VmSidecar.Linux.Processes;

/// <summary>Linux signal numbers used here, with the descriptions of signal(7) in the words pilot-agent's log uses. Same on x64 and arm64.</summary>
internal static class SignalNumber
{
    public const int Hup = 1;
    public const int Int = 2;
    public const int Abort = 6;
    public const int Kill = 9;
    public const int Usr1 = 10;
    public const int Segv = 11;
    public const int Pipe = 13;
    public const int Term = 15;

    /// <summary>Lower-case description; unknown ones as <c>signal N</c>.</summary>
    public static string Describe(int signal) => signal switch
    {
        Hup => "hangup",
        Int => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        Abort => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        Kill => "killed",
        Usr1 => "user defined signal 1",
        Segv => "segmentation fault",
        12 => "user defined signal 2",
        Pipe => "broken pipe",
        14 => "alarm clock",
        Term => "terminated",
        31 => "bad system call",
        _ => $"signal {signal}",
    };
}
