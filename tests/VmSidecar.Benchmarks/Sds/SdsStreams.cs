using System.Diagnostics;
using System.Globalization;

using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;
using VmSidecar.Sds;

namespace VmSidecar.Benchmarks.Sds;

/// <summary>Memory of 100 SDS streams that have their certificate and wait, beside 100 bare streams of the same server that carry as much: what SDS adds.</summary>
internal static class SdsStreams
{
    /// <summary>The method every stream calls.</summary>
    public const string Method = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

    private const int First = 100, More = 500, Rounds = 3; // the first ones fill pools

    public static async Task<int> RunAsync()
    {
        (double Managed, double Private) sds = await MeasureAsync("sds"), bare = await MeasureAsync("bare");
        Say("SDS", sds);
        Say("bare stream", bare);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ratio: {sds.Managed / bare.Managed:F2} managed, {sds.Private / bare.Private:F2} private"));
        return 0;
    }

    private static void Say(string what, (double Managed, double Private) per100) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"memory per 100 streams, {what}: {per100.Managed / 1024:F0} KiB managed, {per100.Private / 1024:F0} KiB private (median of {Rounds})"));

    private static async Task<(double Managed, double Private)> MeasureAsync(string mode)
    {
        List<double> managed = [], own = [];
        for (int round = 0; round < Rounds; round++)
        {
            (long Managed, long Private) grown = await OnceAsync(mode);
            managed.Add(grown.Managed / (More / 100.0));
            own.Add(grown.Private / (More / 100.0));
        }
        return (Medians.Of(managed), Medians.Of(own));
    }

    private static async Task<(long Managed, long Private)> OnceAsync(string mode)
    {
        string folder = Directory.CreateTempSubdirectory("vsc-bench-").FullName, socket = Path.Combine(folder, "socket");
        string self = Environment.ProcessPath!;
        string[] arguments = ["sds-serve", socket, mode];
        if (Path.GetFileNameWithoutExtension(self) == "dotnet") { arguments = ["exec", Path.Combine(AppContext.BaseDirectory, "VmSidecar.Benchmarks.dll"), .. arguments]; }
        using Process server = Process.Start(new ProcessStartInfo(self, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        await server.StandardOutput.ReadLineAsync(); // ready
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + socket)); // one connection, as Envoy has
        List<IGrpcClientCall> open = [];
        await OpenAsync(channel, open, First);
        (long Managed, long Private) before = await AskAsync(server);
        await OpenAsync(channel, open, More);
        (long Managed, long Private) after = await AskAsync(server);
        server.StandardInput.Close();
        foreach (IGrpcClientCall call in open) { await call.DisposeAsync(); }
        await server.WaitForExitAsync();
        Directory.Delete(folder, recursive: true);
        return (after.Managed - before.Managed, after.Private - before.Private);
    }

    private static async Task OpenAsync(GrpcChannel channel, List<IGrpcClientCall> open, int count)
    {
        byte[] request = new DiscoveryRequest { Node = new Node { Id = "sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local" }, TypeUrl = SecretMessages.TypeUrl, ResourceNames = { SecretCatalog.Certificate } }.ToByteArray();
        for (int i = 0; i < count; i++)
        {
            IGrpcClientCall call = await channel.OpenAsync(Method, [], CancellationToken.None);
            open.Add(call);
            await call.SendAsync(request, CancellationToken.None);
            using GrpcMessage? answer = await call.ReadAsync(CancellationToken.None);
            if (answer is null) { throw new InvalidOperationException(call.Status.ToString()); }
        }
    }

    private static async Task<(long Managed, long Private)> AskAsync(Process server)
    {
        await server.StandardInput.WriteLineAsync("memory");
        await server.StandardInput.FlushAsync();
        string[] words = (await server.StandardOutput.ReadLineAsync())!.Split(' ');
        return (long.Parse(words[0], CultureInfo.InvariantCulture), long.Parse(words[1], CultureInfo.InvariantCulture));
    }
}
