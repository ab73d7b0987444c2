using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.Tests.Configuration;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The worked examples once more, from the flag on the command line to datagrams and connections of a running server.</summary>
public sealed class ServedCasesTests
{
    [Theory]
    [InlineData("current")]
    [InlineData("1.10")]
    public async Task Every_case_is_served_as_the_flag_says(string compat)
    {
        using TestHost host = TestHost.WithFixture("1.31");
        DnsOptions read = host.Options("--dns-compat", compat).Dns;
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NotImp);
        foreach (string conf in AnswerCasesTests.Cases.Select(c => c.Conf).Distinct())
        {
            await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { Compat110 = read.Compat110 }, resolvConf: conf);
            Assert.Null(lab.Server.Names.Accept(AnswerCasesTests.Fixture));
            foreach (var c in AnswerCasesTests.Cases.Where(c => c.Conf == conf))
            {
                string expected = compat == "1.10" ? c.Old.Length > 0 ? c.Old : c.Today : c.Ours.Length > 0 ? c.Ours : c.Today;
                if (expected == "ForwardElseEmpty") { expected = "NODATA"; }
                Assert.Equal($"{c.Case}: {expected}", $"{c.Case}: {Text(await lab.AskAsync(c.Name, c.Type))}");
                Assert.Equal($"{c.Case}: {expected}", $"{c.Case}: {Text(await lab.AskTcpAsync(c.Name, c.Type))}");
            }
        }
    }

    private static string Text(DnsText reply) => reply.Rcode == "NOTIMP" ? "FWD" : reply.Answers.Count == 0 ? "NODATA" : string.Join('|', reply.Answers);
}
