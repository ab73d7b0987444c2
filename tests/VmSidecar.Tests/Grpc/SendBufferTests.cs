using System.Globalization;
using System.Text.RegularExpressions;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Grpc;

/// <summary>What may wait in the kernel for a client, as ss(8) shows it.</summary>
public sealed partial class SendBufferTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-sndbuf-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_server_that_sends_large_messages_has_room_for_them()
    {
        Assert.SkipUnless(CommandRunner.Find("ss") is not null, "ss (iproute2) is missing: './build.sh test' installs it");
        int given = await RoomAsync("plain", 0), asked = await RoomAsync("wide", 2 * 1024 * 1024);
        Assert.True(asked > given, $"{asked} bytes, {given} without asking"); // all of it with CAP_NET_ADMIN, net.core.wmem_max without
        if (IsAdmin) { Assert.InRange(asked, 2 * 1024 * 1024, int.MaxValue); }
    }

    private static bool IsAdmin => (Convert.ToUInt64(File.ReadLines("/proc/self/status").First(l => l.StartsWith("CapEff:", StringComparison.Ordinal))[7..].Trim(), 16) >> 12) % 2 == 1;

    /// <summary>Of one connection of a server that asks for so many bytes.</summary>
    private async Task<int> RoomAsync(string name, int asked)
    {
        string socket = Path.Combine(_folder, name);
        using var server = new GrpcServer(GrpcServerOptions.OnSocket(name, socket) with { SendBuffer = asked }, GrpcPair.Methods(EchoAsync), NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        int room;
        await using (var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + socket)))
        {
            await using IGrpcClientCall call = await channel.OpenAsync(GrpcPair.Method, [], CancellationToken.None);
            await call.SendAsync("x"u8.ToArray(), CancellationToken.None);
            using GrpcMessage? answer = await call.ReadAsync(CancellationToken.None); // the connection is served
            room = await ReadRoomAsync(socket);
        }
        await server.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        return room;
    }

    private static async Task<int> ReadRoomAsync(string socket)
    {
        CommandResult ss = await new CommandRunner(Test.Deadline, TimeProvider.System).RunAsync("ss", ["-x", "-n", "-H", "-m", "state", "established", "src", socket], "", CancellationToken.None);
        Match room = Room().Match(ss.Output);
        Assert.True(room.Success, ss.Output);
        return int.Parse(room.Groups[1].ValueSpan, CultureInfo.InvariantCulture);
    }

    private static async Task<GrpcStatus> EchoAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        while (await call.ReadAsync(aborted) is { } message)
        {
            using (message) { await call.SendAsync(message.Body, aborted); }
        }
        return GrpcStatus.Ok;
    }

    [GeneratedRegex(@"skmem:\(.*?,tb(\d+)")]
    private static partial Regex Room();
}
