using System.Text;
using System.Text.RegularExpressions;

namespace VmSidecar.Commands;

/// <summary>
/// Takes what must not leave the host out of a text: private keys, tokens (JWT), bearer and basic credentials, passwords in URLs, and the values of settings
/// and JSON fields whose name says that they are secret. Pure. Leaves a mark where something was, so that a reader sees that it was there.
/// </summary>
internal static partial class SecretRemover
{
    public const string Mark = "[removed]";

    private const string Names = @"(?:(?:XDS|CA)_HEADER_\w+|\w*TOKEN|\w*(?:SECRET|PASSWORD|PASSWD|PASSPHRASE|_PWD|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL)\w*)(?<!_FILE)(?<!_PATH)(?<!_DIR)(?<!SECRET_TTL)(?<!RATIO)(?<!JITTER)(?<!PROVIDER)(?<!TYPE)";

    /// <summary>The text without its secrets.</summary>
    public static string Clean(string text)
    {
        text = PrivateKey().Replace(text, $"{Mark} private key");
        text = Jwt().Replace(text, $"{Mark} token");
        text = Authorization().Replace(text, "$1" + Mark);
        text = UrlPassword().Replace(text, "://" + Mark + "@");
        text = CallHeader().Replace(text, "$1" + Mark);
        text = OpaqueToken().Replace(text, "$1" + Mark);
        text = Setting().Replace(text, "$1" + Mark);
        text = Assignment().Replace(text, "${quote}${name}" + Mark + "${quote}");
        return JsonField().Replace(text, "$1\"" + Mark + "\"");
    }

    /// <summary>The same for bytes; what is not UTF-8 becomes replacement characters.</summary>
    public static byte[] Clean(byte[] bytes) => Encoding.UTF8.GetBytes(Clean(Encoding.UTF8.GetString(bytes)));

    // Also where line ends are escaped, as in JSON, and where the end is cut off.
    [GeneratedRegex(@"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)", RegexOptions.Singleline)]
    private static partial Regex PrivateKey();

    // RFC 7519: three parts in base64url; the first begins with {" and so with eyJ. Also one whose end was cut off.
    [GeneratedRegex(@"\beyJ[\w-]{8,}(\.[\w-]*){0,4}")]
    private static partial Regex Jwt();

    [GeneratedRegex(@"((?:bearer|basic)[ ]+)(?!\[)[\w.~+/=-]{6,}", RegexOptions.IgnoreCase)]
    private static partial Regex Authorization();

    [GeneratedRegex(@"://[^\s/@""']+@")]
    private static partial Regex UrlPassword();

    // A token that is no JWT. Only names in capitals: "token: expired" is what doctor says.
    [GeneratedRegex(@"^(\s*(?:export\s+)?[A-Z0-9_]*TOKEN\s*[:=][ ]*)\S.*$", RegexOptions.Multiline)]
    private static partial Regex OpaqueToken();

    // Headers for istiod and the CA carry credentials under any name.
    [GeneratedRegex(@"^(\s*(?:export\s+)?(?:XDS|CA)_HEADER_\w+\s*[=:]?[ ]*)\S.*$", RegexOptions.Multiline)]
    private static partial Regex CallHeader();

    [GeneratedRegex(@"^(\s*(?:export\s+)?\w*(?:SECRET|PASSWORD|PASSWD|PASSPHRASE|_PWD|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL)\w*(?<!SECRET_TTL)(?<!RATIO)(?<!JITTER)(?<!PROVIDER)(?<!TYPE)\s*[=:][ ]*)\S.*$", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex Setting();

    // Anywhere in a line, as in Environment= of a unit, in a list of processes, in a shell's words: quoted as a whole, quoted in part, or not. What names a file or a duration is not it.
    [GeneratedRegex(@"(?<![\w$])(?:(?<quote>[""'])(?<name>" + Names + @"=)(?:(?!\k<quote>)[^\n])+(?:\k<quote>|$)|(?<name>" + Names + @"=)(?!\[removed\])(?:""[^""\n]*(?:""|$)|'[^'\n]*(?:'|$)|[^\s""'])+)", RegexOptions.IgnoreCase | RegexOptions.Multiline)]
    private static partial Regex Assignment();

    [GeneratedRegex("(\"[^\"]*(?:password|passphrase|private_?key|secret_?key|inline_?bytes|client_?secret|api_?key|token)\"\\s*:\\s*)\"[^\"]*\"", RegexOptions.IgnoreCase)]
    private static partial Regex JsonField();
}
