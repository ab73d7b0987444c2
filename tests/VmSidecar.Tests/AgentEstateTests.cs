using Microsoft.Win32.SafeHandles;

using VmSidecar.Envoy;
using VmSidecar.Identity;
using VmSidecar.Linux.Memory;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit.Namespaces;

using Xunit;

namespace VmSidecar.Tests;

/// <summary>What one agent leaves to the next in its process is read as it was written, and nothing else is taken for it.</summary>
public sealed class AgentEstateTests
{
    [Fact]
    public void All_of_it_arrives_and_its_descriptors_are_closed_in_children()
    {
        (SafeFileHandle output, SafeFileHandle other) = Pipes.Create();
        (SafeFileHandle error, SafeFileHandle socket) = Pipes.Create();
        var time = new DateTimeOffset(2026, 11, 23, 7, 0, 0, 123, TimeSpan.Zero);
        var left = new AgentEstate("0.1.0-abc", 3, new Dictionary<string, int> { ["status [::]:15020"] = Number(socket) },
            new EnvoyEstate(new PeerProcess(42, 4711), output, error)
            {
                Half = new HalfLines([1, 2, 255], []), Words = ["a", "ü"], Inputs = new EnvoyInputs("/usr/bin/envoy 1 2", "", true) { Settings = "F00" },
                Epoch = 2, Starts = 5, Since = time, Version = "1.40.0", Drained = true,
            },
            new WorkloadSecrets("chain", "key", "roots", time, time.AddDays(1), time, "0A"));
        using SafeFileHandle memory = left.Write();
        int copy = Left(memory);

        AgentEstate taken = AgentEstate.Take(new Dictionary<string, string> { [ChildEnvironment.Inheritance] = $"{AgentEstate.Version} {copy}" }, out string? problem)!;
        Assert.Null(problem);

        Assert.Equal(left.ToJson().ToJsonString(), taken.ToJson().ToJsonString());
        Assert.Equal(left.Secrets, taken.Secrets);
        Assert.Equal([Number(socket), Number(output), Number(error)], taken.Descriptors());
        Assert.Null(SealedMemory.Take(copy)); // closed
        taken.Envoy!.Output.SetHandleAsInvalid(); // the same numbers as above: closed once, there
        taken.Envoy.Error.SetHandleAsInvalid();
        foreach (SafeFileHandle handle in (SafeFileHandle[])[output, other, error, socket]) { handle.Dispose(); }
    }

    [Theory]
    [InlineData("", "does not name a form and a descriptor")]
    [InlineData("1", "does not name a form and a descriptor")]
    [InlineData("1 -4", "does not name a form and a descriptor")]
    [InlineData("1 4711", "descriptor 4711 is not the sealed memory")] // not open
    [InlineData("1 0", "descriptor 0 is not the sealed memory")]
    [InlineData("2 3", "it is not of form 1")]
    public void Anything_else_is_nothing_and_has_a_reason(string variable, string reason)
    {
        Assert.Null(AgentEstate.Take(new Dictionary<string, string> { [ChildEnvironment.Inheritance] = variable }, out string? problem));
        Assert.Contains(reason, problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_an_agent_before_there_is_nothing_to_complain_of()
    {
        Assert.Null(AgentEstate.Take(new Dictionary<string, string>(), out string? problem));
        Assert.Null(problem);
    }

    /// <summary>Nothing this program opens is taken for what was left to it.</summary>
    [Fact]
    public void Only_what_came_with_the_exec_is_left_open()
    {
        (SafeFileHandle left, SafeFileHandle own) = Pipes.Create();
        using var socket = new System.Net.Sockets.Socket(System.Net.Sockets.SocketType.Dgram, System.Net.Sockets.ProtocolType.Udp);
        using SafeFileHandle memory = SealedMemory.Create("test", [1]);
        Libc.Fcntl(Number(left), 2, 0); // F_SETFD: as ProgramImage leaves what it hands on
        Libc.Fcntl(Number(memory), 2, 0);
        try
        {
            IReadOnlyList<int> found = LeftOpen.Find(); // and what came from whoever started the tests
            Assert.Superset(new HashSet<int> { Number(left), Number(memory) }, found.ToHashSet());
            Assert.Empty(found.Intersect([0, 1, 2, Number(own), (int)socket.Handle]));
        }
        finally
        {
            left.Dispose();
            own.Dispose();
        }
    }

    [Theory]
    [InlineData("no JSON")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"from":"x","count":1,"sockets":{"a":4711}}""")]
    [InlineData("""{"from":"x","count":1,"sockets":{},"envoy":{"pid":"one"}}""")]
    public void Damaged_content_is_nothing(string content)
    {
        using SafeFileHandle memory = SealedMemory.Create("test", System.Text.Encoding.UTF8.GetBytes(content));
        int copy = Left(memory);
        Assert.Null(AgentEstate.Take(new Dictionary<string, string> { [ChildEnvironment.Inheritance] = $"1 {copy}" }, out string? problem));
        Assert.StartsWith("it is damaged", problem, StringComparison.Ordinal);
    }

    /// <summary>Damage behind the sockets: they are still known for what came with the exec, and closed.</summary>
    [Theory]
    [InlineData("""{"pid":"one"}""")]
    [InlineData("""{"pid":1,"started":2,"output":OPEN,"error":4711,"outputHalf":"","errorHalf":"","words":[],"executable":"","bootstrap":"","delta":true,"settings":"","epoch":0,"starts":1,"since":"2026-11-23T07:00:00.0000000+00:00","version":null,"drained":false}""")]
    public void What_was_read_in_part_is_closed_whole(string envoy)
    {
        (SafeFileHandle left, SafeFileHandle other) = Pipes.Create();
        Libc.Fcntl(Number(left), 2, 0); // F_SETFD: as ProgramImage leaves what it hands on
        Damaged_content_is_nothing($$"""{"from":"x","count":1,"sockets":{"a":{{Number(left)}}},"envoy":{{envoy.Replace("OPEN", Number(left).ToString(System.Globalization.CultureInfo.InvariantCulture), StringComparison.Ordinal)}}}""");
        Assert.Contains(Number(left), LeftOpen.Find());
        left.Dispose();
        other.Dispose();
    }

    /// <summary>Where vm.memfd_noexec is 1 the kernel makes every one that way, with one seal more.</summary>
    [Fact]
    public void Memory_that_may_not_be_run_is_taken_too()
    {
        int number = MemfdCreate("test", 8); // MFD_NOEXEC_SEAL
        Assert.SkipWhen(number < 0, "this kernel is older than 6.3");
        using (var handle = new SafeFileHandle(Libc.Fcntl(number, 0, 0), ownsHandle: true)) // F_DUPFD
        {
            RandomAccess.Write(handle, [1, 2, 3], 0);
            Assert.Equal(0, Libc.Fcntl(number, 1033, 15)); // F_ADD_SEALS
        }
        Assert.Equal([1, 2, 3], SealedMemory.Take(number));
    }

    [Fact]
    public async Task Where_the_kernel_demands_memory_that_may_not_be_run_it_is_made_so()
    {
        Assert.SkipUnless(NetworkNamespace.IsPossible && File.Exists("/proc/sys/vm/memfd_noexec"), "a namespace of processes needs root, and the setting Linux 6.3");
        await OwnProcess.RunAsync(
            $"{typeof(AgentEstateTests).FullName}.{nameof(OnStrictKernel)}", "unshare", "--pid", "--fork", "--mount-proc", "sh", "-c",
            "export DOTNET_EnableWriteXorExecute=0; echo 2 >/proc/sys/vm/memfd_noexec && exec \"$@\"", "sh"); // the runtime that compiles as it goes wants such memory itself
    }

    /// <summary>The body, for a process in a namespace of processes whose vm.memfd_noexec is 2.</summary>
    [Fact(Explicit = true)]
    public void OnStrictKernel()
    {
        using SafeFileHandle memory = SealedMemory.Create("test", [1, 2, 3]);
        Assert.Equal([1, 2, 3], SealedMemory.Take(Left(memory)));
    }

    [Fact]
    public void Nobody_can_change_it()
    {
        using SafeFileHandle memory = SealedMemory.Create("test", [1, 2, 3]);
        Assert.ThrowsAny<Exception>(() => RandomAccess.Write(memory, [9], 0));
        Assert.ThrowsAny<Exception>(() => RandomAccess.SetLength(memory, 0));
    }

    [Theory]
    [InlineData("")]
    [InlineData("not JSON")]
    [InlineData("{}")]
    [InlineData("""{"form":"one","uses":[]}""")]
    public void An_answer_of_an_older_executable_is_no_offer(string text) => Assert.Null(ReplacementOffer.Parse(text));

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "memfd_create", CharSet = System.Runtime.InteropServices.CharSet.Ansi)]
    private static extern int MemfdCreate(string name, uint flags);

    private static int Number(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    /// <summary>A further descriptor as a bare number: whoever takes it closes it, and a handle that still owned it would close whatever has the number by the time it is collected.</summary>
    private static int Left(SafeFileHandle handle)
    {
        SafeFileHandle copy = Descriptor.Duplicate(handle)!;
        int number = Number(copy);
        copy.SetHandleAsInvalid();
        return number;
    }
}
