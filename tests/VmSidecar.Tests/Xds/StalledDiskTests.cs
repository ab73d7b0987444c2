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

    [Fact]
    public async Task A_stop_gives_the_disk_two_seconds_and_goes_on_without_it()
    {
        var bench = new RelayBench(delta: true, names: false, disk: Disk);
        await bench.Proxy.StartAsync(CancellationToken.None);
        (PairedCall envoy, PairedCall istiod) = await CutThroughTests.OpenAsync(bench, delta: true, stock: false);
        await istiod.Server.SayAsync(Clusters(3).Mended);
        await envoy.Client.SayAsync(XdsMessages.Answer(true, await envoy.Client.ReadAsync(XdsMessageKind.DeltaResponse), null));
        await istiod.Server.ReadBytesAsync(); // accepted: to be written, once it has all been moved aside
        await _begun.Task.WaitAsync(Test.Deadline);
        Task stop = bench.DisposeAsync().AsTask();
        while (await bench.DelayAsync() != TimeSpan.FromSeconds(2)) { }
        Assert.False(stop.IsCompleted);
        bench.Time.Advance(TimeSpan.FromSeconds(2));
        await stop.WaitAsync(Test.Deadline);
        Assert.Single(bench.Log.Lines, l => l.Contains($"the disk under {bench.Folder}/xds has not answered for 2 s", StringComparison.Ordinal));
        Assert.False(_answer.Task.IsCompleted);
        _answer.SetResult(); // nothing is written any more: the folder is gone, and stays so
    }

    /// <summary>A file that blocks whoever opens it (a FIFO nobody reads, fifo(7)) stands for a disk that holds the thread itself.</summary>
    [Fact]
    public async Task Who_stops_is_not_held_by_a_disk_that_holds_the_thread()
    {
        var time = new ManualTimeProvider();
        var log = new ListLog();
        var keeper = new ResourceKeeper(_folder, time, log.CreateLogger("xdsproxy")) { IsLive = true };
        using var stop = new CancellationTokenSource();
        Task loop = keeper.RunAsync(stop.Token);
        Directory.CreateDirectory(keeper.Folder);
        string journal = KeptFolder.FileOf(keeper.Folder, XdsTypeUrl.Cluster);
        keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
        Accept(keeper, "n1");
        while (await time.NextTimerAsync(Test.Deadline) != TimeSpan.FromSeconds(1)) { }
        time.Advance(TimeSpan.FromSeconds(1));
        await Test.UntilAsync(() => File.Exists(journal) && File.Exists(Path.Combine(keeper.Folder, "seen")));
        File.Delete(journal);
        using (var make = System.Diagnostics.Process.Start("mkfifo", journal)) { await make.WaitForExitAsync(TestContext.Current.CancellationToken); }
        Accept(keeper, "n2");
        await stop.CancelAsync().WaitAsync(Test.Deadline);
        Task end = KeeperWaits.EndAsync(keeper, loop, time, log.CreateLogger("xdsproxy"));
        while (await time.NextTimerAsync(Test.Deadline) != KeeperWaits.Grace) { }
        Assert.False(end.IsCompleted);
        time.Advance(KeeperWaits.Grace);
        await end.WaitAsync(Test.Deadline);
        Assert.Single(log.Lines, l => l.Contains("has not answered for 2 s", StringComparison.Ordinal));
        await using var open = new FileStream(journal, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite); // the disk answers at last; both ways, as that never blocks
        await Task.WhenAny(loop).WaitAsync(Test.Deadline);

        static void Accept(ResourceKeeper keeper, string nonce)
        {
            byte[] response = Talk.Response(true, XdsTypeUrl.Cluster, nonce, [1]);
            Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaResponse, response, out XdsEnvelope? envelope));
            keeper.Delivered(envelope, GrpcMessage.Copy(response));
            Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaRequest, XdsMessages.Answer(true, envelope, null), out XdsEnvelope? answer));
            keeper.Answered(answer);
        }
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
