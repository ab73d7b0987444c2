using VmSidecar.Grpc;
using VmSidecar.Linux.Memory;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>A disk that never answers costs memory, not Envoy's configuration, and nobody waits for it.</summary>
public sealed class StalledDiskTests : IDisposable
{
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously), _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-stall-").FullName;
    private int _writes;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory, InlineData(3), InlineData(12)]
    public async Task Mended_clusters_reach_Envoy_although_their_write_never_ends(int megabytes)
    {
        (byte[] response, byte[] mended) = Clusters(megabytes);
        await using var bench = new RelayBench(delta: true, names: false, disk: Disk);
        (PairedCall envoy, PairedCall istiod) = await CutThroughTests.OpenAsync(bench, delta: true, stock: true);
        await istiod.Server.SayAsync(response);
        if (megabytes == 12) // eight may wait in memory; then the disk is given a second
        {
            Assert.Equal(TimeSpan.FromSeconds(1), await bench.DelayAsync());
            bench.Time.Advance(TimeSpan.FromSeconds(1));
        }
        byte[] got = await envoy.Client.ReadBytesAsync();
        Assert.True(mended.AsSpan().SequenceEqual(got));
        await EndsAsync(bench, envoy);
    }

    [Fact]
    public async Task A_stream_that_gives_the_disk_its_second_is_superseded_at_once()
    {
        await using var bench = new RelayBench(delta: true, names: false, disk: Disk);
        (PairedCall envoy, PairedCall istiod) = await CutThroughTests.OpenAsync(bench, delta: true, stock: true);
        await istiod.Server.SayAsync(Clusters(12).Response);
        await bench.DelayAsync();
        await EndsAsync(bench, envoy);
    }

    [Theory, InlineData(true), InlineData(false)]
    public Task What_is_on_its_way_is_read_from_memory(bool lands) => OwnProcess.RunAsync($"{typeof(StalledDiskTests).FullName}.{(lands ? nameof(Landing) : nameof(Failing))}");

    /// <summary>The body, for a process of its own: the blocks in use are those of all of it.</summary>
    [Fact(Explicit = true)]
    public Task Landing() => ReadAsync(lands: true);

    /// <summary>The body, for a process of its own.</summary>
    [Fact(Explicit = true)]
    public Task Failing() => ReadAsync(lands: false);

    [Fact]
    public async Task A_disk_that_hangs_is_given_four_writes_and_no_more()
    {
        SpillDisk disk = Disk;
        var messages = new List<SpilledPieces>();
        for (int i = 0; i < 6; i++)
        {
            messages.Add(new SpilledPieces(disk, new PieceList(), chunk: 1000));
            messages[i].Now.Append(new byte[2000]);
            messages[i].Passed();
        }
        await Test.UntilAsync(() => Volatile.Read(ref _writes) == 4);
        Assert.Equal([0, 0, 0, 0, 2000, 2000], messages.Select(m => m.Now.Length));
        _answer.SetResult();
        foreach (SpilledPieces message in messages.Take(4)) { await message.Ready.WaitAsync(Test.Deadline); }
        foreach (SpilledPieces message in messages)
        {
            message.Passed();
            await message.Ready.WaitAsync(Test.Deadline);
            Assert.Equal(2000, message.Spilled);
            message.Dispose();
        }
        Assert.Equal(6, _writes);
    }

    /// <summary>The write ends, or fails, while its bytes are read.</summary>
    private async Task ReadAsync(bool lands)
    {
        int before = NativeBlock.InUse;
        byte[] content = new byte[1_500_000];
        new Random(1).NextBytes(content);
        var pieces = new SpilledPieces(Disk, new PieceList());
        pieces.Now.Append(content.AsSpan(0, 1_100_000));
        pieces.Passed();
        pieces.Now.Append(content.AsSpan(1_100_000));
        await _begun.Task.WaitAsync(Test.Deadline);
        Assert.Equal((content.Length, 0), (pieces.Length, pieces.Spilled));
        List<byte> read = [];
        foreach (ReadOnlyMemory<byte> piece in pieces.Pieces)
        {
            if (read.Count == 0)
            {
                if (lands) { _answer.SetResult(); } else { _answer.SetException(new IOException("no space left on device")); }
                await pieces.Ready.WaitAsync(Test.Deadline);
            }
            read.AddRange(piece.Span);
        }
        Assert.Equal(content, read);
        Assert.Equal((content.Length, lands ? 1_100_000 : 0), (pieces.Length, pieces.Spilled));
        Assert.Equal(content, pieces.Pieces.SelectMany(p => p.ToArray()));
        Assert.Equal(before + (lands ? 2 : 7), NativeBlock.InUse); // what is in the file is in the memory no more
        pieces.Dispose();
        await Test.UntilAsync(() => NativeBlock.InUse == before);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder)); // without a name
    }

    /// <summary>The write begins once this is asked for, and ends when the test says so.</summary>
    private SpillDisk Disk => new(_folder)
    {
        Write = async (file, pieces, at) =>
        {
            Interlocked.Increment(ref _writes);
            _begun.TrySetResult();
            await _answer.Task;
            await RandomAccess.WriteAsync(file, pieces, at);
        },
    };

    private async Task EndsAsync(RelayBench bench, PairedCall envoy)
    {
        PairedCall newer = bench.Envoy(delta: true);
        await newer.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        Assert.Equal(GrpcStatusCode.OK, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
        PairedCall istiod = await bench.Istiod.NextAsync(); // the one before has ended: there are never two
        Assert.Equal(XdsTypeUrl.Cluster, (await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest)).TypeUrl);
        Assert.False(_answer.Task.IsCompleted);
        await _begun.Task.WaitAsync(Test.Deadline);
        _answer.SetResult();
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder)); // without a name
    }

    private static (byte[] Response, byte[] Mended) Clusters(int megabytes)
    {
        byte[][] all = [.. Enumerable.Range(0, megabytes * 100).Select(i => new ProtoWriter().String(1, "outbound|80||s" + i).Bytes(43, new byte[10_500]).ToArray())];
        byte[] filter = new ProtoWriter().Message(40, new ProtoWriter().String(1, "istio.metadata_exchange").Message(2, new ProtoWriter().String(1, "type.googleapis.com/" + IstioFilters.TcpMetadataExchange))).ToArray();
        return (Talk.Response(true, XdsTypeUrl.Cluster, "n1", [.. all.Select(c => (byte[])[.. c, .. filter])]), Talk.Response(true, XdsTypeUrl.Cluster, "n1", all));
    }
}
