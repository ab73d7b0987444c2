using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;

using VmSidecar.Configuration;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>CREDENTIAL_FETCHER_TYPE: tokens the agent fetches itself; and what COMPLIANCE_POLICY does to the connection they go over.</summary>
public sealed class TokenSourceTests
{
    [Fact]
    public async Task The_metadata_server_is_asked_as_the_cloud_has_it_and_its_token_is_kept_in_the_token_file()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        File.Delete(bench.Options.TokenFile!);
        string token = bench.Istiod.Tokens.Make(Some.Namespace, Some.Account);
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        Task<string> asked = AnswerAsync(server, $"HTTP/1.1 200 OK\r\nContent-Length: {token.Length}\r\n\r\n{token}");
        bench.Options = bench.Options with { TokenSource = TokenSourceKind.GoogleComputeEngine, MetadataHost = server.LocalEndpoint.ToString()! };
        bench.Boot();
        await bench.FirstAsync();
        string request = await asked;
        Assert.StartsWith("GET /computeMetadata/v1/instance/service-accounts/default/identity?audience=cluster.local&format=full HTTP/1.1\r\n", request, StringComparison.Ordinal);
        Assert.Contains("Metadata-Flavor: Google\r\n", request, StringComparison.Ordinal);
        Assert.Equal(token, File.ReadAllText(bench.Options.TokenFile!));
        Assert.Equal("Bearer " + token, bench.Istiod.Ca.Calls.Single().Authorization);
        Assert.True(bench.Logged("using credential fetcher of GoogleComputeEngine type in cluster.local trust domain"));
        Assert.False(bench.Logged(token));
    }

    [Theory]
    [InlineData("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "its answer is no JWT")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=windows-1252\r\nContent-Length: 5\r\n\r\nhello", "its answer is no JWT")] // .NET knows neither of these two
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-7\r\nContent-Length: 5\r\n\r\nhello", "its answer is no JWT")]
    [InlineData("", "")] // closes without a word: the reason is the framework's
    public async Task A_metadata_server_without_a_token_is_named_with_its_answer(string answer, string expected)
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        Task<string> asked = AnswerAsync(server, answer);
        (string? token, string problem) = await new MetadataToken(server.LocalEndpoint.ToString()!, "cluster.local").FetchAsync(CancellationToken.None);
        await asked;
        Assert.Null(token);
        if (expected.Length > 0) { Assert.Equal(expected, problem); } else { Assert.NotEmpty(problem); }
    }

    [Fact]
    public async Task Mock_sends_the_constant_token()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { TokenSource = TokenSourceKind.Mock };
        bench.Boot();
        await bench.StartAsync();
        await bench.StatusAsync(s => s.Failures == 1); // this istiod knows no such token
        Assert.Equal("Bearer test_token", bench.Istiod.Ca.Calls.Single().Authorization);
        Assert.Contains(bench.Access.XdsMetadata(), h => h is { Key: "authorization", Value: "Bearer test_token" });
    }

    [Theory]
    [InlineData(TlsCompliance.Fips, SslProtocols.Tls12, true)]
    [InlineData(TlsCompliance.Fips, SslProtocols.Tls13, false)]
    [InlineData(TlsCompliance.PostQuantum, SslProtocols.Tls13, true)]
    [InlineData(TlsCompliance.PostQuantum, SslProtocols.Tls12, false)]
    internal async Task A_compliance_policy_limits_tls_to_istiod(TlsCompliance policy, SslProtocols served, bool works)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new IstiodOptions { Protocols = served });
        bench.Options = bench.Options with { Compliance = policy };
        bench.Boot();
        await bench.StartAsync();
        IdentityStatus status = await bench.UntilAsync(s => s.Condition is IdentityCondition.Good or IdentityCondition.None);
        Assert.Equal(works, status.Condition == IdentityCondition.Good);
        Assert.Equal(works ? 1 : 0, bench.Calls);
    }

    private static async Task<string> AnswerAsync(TcpListener server, string answer)
    {
        using Socket peer = await server.AcceptSocketAsync().WaitAsync(Test.Deadline);
        byte[] buffer = new byte[4096];
        var request = new StringBuilder();
        while (!request.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            int read = await peer.ReceiveAsync(buffer).WaitAsync(Test.Deadline);
            if (read == 0) { break; }
            request.Append(Encoding.ASCII.GetString(buffer, 0, read));
        }
        await peer.SendAsync(Encoding.ASCII.GetBytes(answer));
        return request.ToString();
    }
}
