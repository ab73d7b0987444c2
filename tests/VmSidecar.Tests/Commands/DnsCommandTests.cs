using System.Text.Json.Nodes;
using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.Tests.Dns;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Commands;

public sealed class DnsCommandTests
{
    [Fact]
    public async Task It_says_which_rule_answered_and_with_what()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], resolvConf: "search corp.example");
        Assert.Null(lab.Server.Names.Accept(AnswerCasesTests.Fixture));
        await Test.UntilAsync(() => File.Exists(lab.TablePath));
        (int code, string text) = await RunAsync(lab, "ledger", "A");
        Assert.Equal(0, code);
        Assert.Contains("ledger.corp.example. A\n  why       ledger. below a search domain, which is host ledger.payments.svc.cluster.local. (Kubernetes service, 10.96.10.11)\n", text, StringComparison.Ordinal);
        Assert.Contains("            ledger. 30 A 10.96.10.11\n", text, StringComparison.Ordinal);
        (code, text) = await RunAsync(lab, "x.cdn.example.", "AAAA");
        Assert.Equal(1, code);
        Assert.Contains("covered by the wildcard *.cdn.example. (ServiceEntry, 240.240.1.1); it has no address of this family: an empty answer\n", text, StringComparison.Ordinal);
        Assert.Contains("NOERROR, no records in ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_goes_upstream_is_asked_there_too()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        (int code, string text) = await RunAsync(lab, "www.example.net.", "A");
        Assert.Equal(1, code);
        Assert.Contains("  why       not in the name table: goes upstream\n", text, StringComparison.Ordinal);
        Assert.Contains($"  agent     {lab.Address}: SERVFAIL, no records in ", text, StringComparison.Ordinal);
        Assert.Contains("names no server\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_own_virtual_ip_is_explained()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab lab = await DnsLab.StartAsync([upstream]);
        await lab.ShowHostsAsync("private.example.net");
        await Test.UntilAsync(() => File.Exists(lab.Server.VirtualIps.Path));
        (int code, string text) = await RunAsync(lab, "private.example.net", "A");
        Assert.Equal(0, code);
        Assert.Contains("own virtual IP 240.241.", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a..b", "A")]
    [InlineData("a.example", "NONSENSE")]
    public async Task What_is_no_question_is_refused(string name, string type)
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        (int code, string text) = await RunAsync(lab, name, type);
        Assert.Equal(78, code);
        Assert.Contains("is not a ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_an_agent_it_says_so()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        DnsOptions options = lab.Options with { Listen = [lab.Address] };
        await lab.StopAsync();
        (int code, string text) = await RunAsync(options, "a.example.", "A");
        Assert.Equal(1, code);
        Assert.Contains(": nobody listens there in ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_agent_tells_of_its_cache_and_of_each_server_as_it_sees_them()
    {
        await using FakeUpstream good = FakeUpstream.Answering("192.0.2.1"), silent = FakeUpstream.Silent();
        await using DnsLab lab = await DnsLab.StartAsync([good, silent]);
        (int code, string text) = await RunAsync(lab, "www.example.net.", "A");
        Assert.Equal(0, code);
        Assert.DoesNotContain("  cache ", text, StringComparison.Ordinal);
        Assert.Contains($"  upstream  {good.Endpoint}: NOERROR in ", text, StringComparison.Ordinal);
        Assert.Contains($"  upstream  {silent.Endpoint}: no answer in ", text, StringComparison.Ordinal);
        lab.Server.Upstreams.UseServers([good.Endpoint]);
        await lab.AskAsync("www.example.net");
        (_, text) = await RunAsync(lab, "www.example.net.", "A");
        Assert.Contains("  cache     has the answer: no server was asked\n", text, StringComparison.Ordinal);
        Assert.Null(await lab.Server.Report.ForAsync("a..b", "A", CancellationToken.None));
        Assert.Null(await lab.Server.Report.ForAsync("a.b", "NONSENSE", CancellationToken.None));
    }

    private static Task<(int Code, string Text)> RunAsync(DnsLab lab, string name, string type) => RunAsync(lab.Options with { Listen = [lab.Address] }, name, type, lab.Server.Report.ForAsync);

    private static async Task<(int Code, string Text)> RunAsync(DnsOptions options, string name, string type, Func<string, string, CancellationToken, Task<JsonObject?>>? report = null)
    {
        using var text = new StringWriter { NewLine = "\n" };
        int code = await new DnsCommand(options, report ?? ((_, _, _) => Task.FromResult<JsonObject?>(null)), TimeProvider.System, text).RunAsync(name, type, CancellationToken.None);
        return (code, text.ToString());
    }
}
