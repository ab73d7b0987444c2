using System.Diagnostics;
using System.Globalization;

using Google.Protobuf;

using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>gRPC's JavaScript client, with the bootstrap file the agent writes, resolves and calls a service through the relay and follows its changes.</summary>
public sealed class ProxylessInteropTests
{
    private const string Host = "echo.default.svc.cluster.local", Cluster = "outbound|80||" + Host;
    private const string Prefix = "type.googleapis.com/";

    [Fact]
    public async Task A_proxyless_client_resolves_calls_and_follows_a_push_and_a_reconnection()
    {
        if (Packages() is not { } packages)
        {
            Assert.Skip("gRPC's JavaScript packages are not there: './build.sh test' installs them into out/grpc-js where npm is");
            return;
        }
        await using WireBench bench = await WireBench.StartedAsync();
        string folder = Directory.CreateTempSubdirectory("vsc-js-").FullName, script = Path.Combine(folder, "proxyless.js");
        File.Copy(Path.Combine(AppContext.BaseDirectory, "Xds", "Interop", "js", "proxyless.js"), script);
        Directory.CreateSymbolicLink(Path.Combine(folder, "node_modules"), packages);
        var start = new ProcessStartInfo("node", [script, $"xds:///{Host}:80"]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment["GRPC_XDS_BOOTSTRAP"] = bench.Options.GrpcBootstrapFile;
        using Process client = Process.Start(start)!;
        try
        {
            string[] ports = (await LineAsync(client)).Split(' ');
            var mesh = new FixedSource(bench.Istiod.Source);
            Describe(mesh, int.Parse(ports[1], CultureInfo.InvariantCulture));
            bench.Istiod.Source = mesh;
            Assert.Equal("a:one", await SayAsync(client, "one"));
            Describe(mesh, int.Parse(ports[2], CultureInfo.InvariantCulture));
            bench.Istiod.Push();
            await bench.Istiod.UntilAsync(i => i.Streams.Any(s => s.State("EDS") == SyncState.Synced), "the new endpoint is accepted");
            await UntilAsync(client, "b:two");
            await bench.Istiod.KillAsync();
            Assert.Equal("b:three", await SayAsync(client, "three")); // what it knows stays good
            await bench.Istiod.StartAsync();
            Describe(mesh, int.Parse(ports[1], CultureInfo.InvariantCulture));
            await bench.Istiod.UntilAsync(i => i.Streams.Any(s => s.State("EDS") == SyncState.Synced), "it is back");
            await UntilAsync(client, "a:four");
            Assert.Empty(bench.Istiod.Violations);
        }
        finally
        {
            client.Kill();
            await client.WaitForExitAsync();
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A client takes a moment from accepting an update to using it; every call answers, so this ends.</summary>
    private static async Task UntilAsync(Process client, string expected)
    {
        string word = expected[2..], last = "";
        for (int i = 0; i < 2000 && last != expected; i++) { last = await SayAsync(client, word); }
        Assert.Equal(expected, last);
    }

    private static async Task<string> SayAsync(Process client, string word)
    {
        await client.StandardInput.WriteLineAsync(word);
        await client.StandardInput.FlushAsync();
        return await LineAsync(client);
    }

    private static async Task<string> LineAsync(Process client) => await client.StandardOutput.ReadLineAsync().WaitAsync(Test.Deadline) ?? "(the client has ended)";

    /// <summary>What istiod's gRPC generator sends: a listener that is a route, a route, a cluster, its one endpoint.</summary>
    private static void Describe(FixedSource mesh, int port)
    {
        ProtoWriter ads = new ProtoWriter().Message(3, new ProtoWriter()).Varint(6, 2); // ConfigSource: ads, V3
        ProtoWriter router = Any("envoy.extensions.filters.http.router.v3.Router", new ProtoWriter());
        ProtoWriter manager = new ProtoWriter().Message(3, new ProtoWriter().Message(1, ads).String(2, Cluster))
            .Message(5, new ProtoWriter().String(1, "envoy.filters.http.router").Message(4, router));
        Set(mesh, XdsTypeUrl.Listener, Host + ":80", new ProtoWriter().String(1, Host + ":80")
            .Message(19, new ProtoWriter().Message(1, Any("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", manager))));
        ProtoWriter route = new ProtoWriter().Message(1, new ProtoWriter().String(1, "/")).Message(2, new ProtoWriter().String(1, Cluster));
        Set(mesh, XdsTypeUrl.Routes, Cluster, new ProtoWriter().String(1, Cluster).Message(2, new ProtoWriter().String(1, "all").String(2, "*").Message(3, route)));
        Set(mesh, XdsTypeUrl.Cluster, Cluster, new ProtoWriter().String(1, Cluster).Varint(2, 3).Message(3, new ProtoWriter().Message(1, ads).String(2, Cluster)));
        ProtoWriter socket = new ProtoWriter().Message(1, new ProtoWriter().String(2, "127.0.0.1").Varint(3, (ulong)port));
        ProtoWriter endpoint = new ProtoWriter().Message(1, new ProtoWriter().Message(1, socket));
        ProtoWriter locality = new ProtoWriter().Message(1, new ProtoWriter().String(1, "eu")).Message(2, endpoint).Message(3, new ProtoWriter().Varint(1, 1));
        Set(mesh, XdsTypeUrl.Endpoints, Cluster, new ProtoWriter().String(1, Cluster).Message(2, locality));
    }

    private static ProtoWriter Any(string type, ProtoWriter message) => new ProtoWriter().String(1, Prefix + type).Message(2, message);

    private static void Set(FixedSource mesh, string type, string name, ProtoWriter message) => mesh.Set(type, name, ByteString.CopyFrom(message.ToArray()));

    /// <summary>Where build.sh has put the packages; null: nowhere.</summary>
    private static string? Packages()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            string found = Path.Combine(folder, "out", "grpc-js", "node_modules");
            if (Directory.Exists(Path.Combine(found, "@grpc", "grpc-js-xds"))) { return found; }
        }
        return null;
    }
}
