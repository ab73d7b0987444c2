using System.Formats.Tar;
using System.IO.Compression;
using System.Text;

using VmSidecar.Commands;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary><c>vmsidecar bugreport</c>: says what it will contain, asks, and lets no secret out.</summary>
public sealed class BugReportTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-report-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string> Texts => new()
    {
        { "a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nb", "a\n[removed] private key\nb" },
        { "{\"k\":\"-----BEGIN PRIVATE KEY-----\\nMIG\\n-----END PRIVATE KEY-----\\n\"}", "{\"k\":\"[removed] private key\\n\"}" },
        { "-----BEGIN RSA PRIVATE KEY-----\nMHcCAQEE cut off", "[removed] private key" },
        { "Authorization: Bearer abcdef.123456", "Authorization: Bearer [removed]" },
        { "XDS_HEADER_AUTHORIZATION='very secret'\nA=b", "XDS_HEADER_AUTHORIZATION=[removed]\nA=b" },
        { "  CA_HEADER_X  s3cr3t value   /var/lib/istio/envoy/sidecar.env:3", "  CA_HEADER_X  [removed]" },
        { "export MY_PASSWORD=hunter2", "export MY_PASSWORD=[removed]" },
        { "HTTPS_PROXY=http://user:hunter2@proxy:3128/", "HTTPS_PROXY=http://[removed]@proxy:3128/" },
        { "{\"private_key\": {\"inline_bytes\": \"TUhj\"}}", "{\"private_key\": {\"inline_bytes\": \"[removed]\"}}" },
        { "SECRET_TTL=24h\nCREDENTIAL_IDENTITY_PROVIDER=x\nSECRET_GRACE_PERIOD_RATIO=0.5", "SECRET_TTL=24h\nCREDENTIAL_IDENTITY_PROVIDER=x\nSECRET_GRACE_PERIOD_RATIO=0.5" },
        { "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" },
    };

    [Theory]
    [MemberData(nameof(Texts))]
    [InlineData("Environment=XDS_HEADER_AUTH=opaque", "Environment=XDS_HEADER_AUTH=[removed]")]
    [InlineData("Environment=\"DB_PASSWORD=two words\" A=b", "Environment=\"DB_PASSWORD=[removed]\" A=b")]
    [InlineData("Environment='DB_PASSWORD=it has \"quotes\"' A=b", "Environment='DB_PASSWORD=[removed]' A=b")]
    [InlineData("Environment=A=b MY_TOKEN=opaque-1 C=d", "Environment=A=b MY_TOKEN=[removed] C=d")]
    [InlineData("  \"API_KEY=x\" \\", "  \"API_KEY=[removed]\" \\")]
    [InlineData("GITHUB_TOKEN=ghp_abc", "GITHUB_TOKEN=[removed]")]
    [InlineData("export GITHUB_TOKEN='a b'", "export GITHUB_TOKEN=[removed]")]
    [InlineData("A_TOKEN=\"cut off", "A_TOKEN=[removed]")]
    [InlineData("A_TOKEN = opaque", "A_TOKEN = [removed]")]
    [InlineData("run KEY_PASSPHRASE=a DB_PWD=b TLS_PRIVATE_KEY=c", "run KEY_PASSPHRASE=[removed] DB_PWD=[removed] TLS_PRIVATE_KEY=[removed]")]
    [InlineData("{\"token\": \"opaque\", \"tokenFile\": \"/x\"}", "{\"token\": \"[removed]\", \"tokenFile\": \"/x\"}")]
    [InlineData("PWD=/root OLDPWD=/", "PWD=/root OLDPWD=/")]
    [InlineData("VAULT_TOKEN: s.abcdef", "VAULT_TOKEN: [removed]")]
    [InlineData("12 1 /bin/app --x=1 DB_SECRET=abc run", "12 1 /bin/app --x=1 DB_SECRET=[removed] run")]
    [InlineData("ISTIO_TOKEN_FILE=/run/token MY_TOKEN_PATH=/x", "ISTIO_TOKEN_FILE=/run/token MY_TOKEN_PATH=/x")]
    [InlineData("Environment=SECRET_TTL=1h CREDENTIAL_FETCHER_TYPE=JWT", "Environment=SECRET_TTL=1h CREDENTIAL_FETCHER_TYPE=JWT")]
    [InlineData("token: expired on 2026-01-01", "token: expired on 2026-01-01")]
    public void Secrets_go_and_the_rest_stays(string text, string cleaned) => Assert.Equal(cleaned, SecretRemover.Clean(text));

    [Fact]
    public void No_part_of_a_token_stays()
    {
        string token = new TokenMaker(TimeProvider.System).Make("vm-ns", "vm-sa");
        string cleaned = SecretRemover.Clean($"before {token} after {token[..60]}");
        Assert.Equal("before [removed] token after [removed] token", cleaned);
    }

    [Fact]
    public async Task Lists_asks_and_writes_for_the_owner_only()
    {
        string file = Path.Combine(_folder, "report.tar.gz"), log = Path.Combine(_folder, "istio.log");
        File.WriteAllText(log, "fine\nAuthorization: Bearer abcdefgh\n");
        ReportItem[] items =
        [
            ReportItem.OfFile("istio.log", log), ReportItem.OfFile("absent", Path.Combine(_folder, "absent")),
            new("broken", "a broken disk", _ => throw new IOException("Input/output error")),
        ];
        (int code, string output) = await RunAsync(items, file, answer: "n");
        Assert.Equal((0, false), (code, File.Exists(file)));
        Assert.Contains("  istio.log              " + log, output, StringComparison.Ordinal);

        (code, output) = await RunAsync(items, file, answer: "y");
        Assert.Equal(0, code);
        Assert.Contains($"written: {file}", output, StringComparison.Ordinal);
        Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(file));
        Dictionary<string, string> inside = Read(file);
        Assert.Equal("fine\nAuthorization: Bearer [removed]\n", inside["vsc/istio.log"]);
        Assert.Equal(["vsc/CONTENTS.txt", "vsc/istio.log"], inside.Keys.Order());
        Assert.Contains("absent: there is none", inside["vsc/CONTENTS.txt"], StringComparison.Ordinal);
        Assert.Contains("a broken disk: Input/output error", inside["vsc/CONTENTS.txt"], StringComparison.Ordinal);

        (code, output) = await RunAsync(items, file, answer: "y"); // never over an earlier one
        Assert.Equal(1, code);
        Assert.Contains("Name another file with --output", output, StringComparison.Ordinal);
    }

    private static Dictionary<string, string> Read(string file)
    {
        var all = new Dictionary<string, string>(StringComparer.Ordinal);
        using var tar = new TarReader(new GZipStream(File.OpenRead(file), CompressionMode.Decompress));
        while (tar.GetNextEntry() is { } entry)
        {
            using var reader = new StreamReader(entry.DataStream!, Encoding.UTF8);
            all[entry.Name] = reader.ReadToEnd();
        }
        return all;
    }

    private static async Task<(int Code, string Output)> RunAsync(ReportItem[] items, string file, string answer)
    {
        using var output = new StringWriter();
        var cli = new Cli(output, output, new Dictionary<string, string>(), "vmsidecar") { ReadLine = () => answer };
        int code = await BugReport.RunAsync(cli, items, file, "vsc", listOnly: false, yes: false, TestContext.Current.CancellationToken);
        return (code, output.ToString());
    }
}
