using System.Net.Security;

using VmSidecar.MiniEnvoy.Traffic;

using Xunit;

namespace VmSidecar.Tests.MiniEnvoy;

public sealed class ClientHelloTests
{
    [Fact]
    public async Task Name_and_protocols_of_a_real_hello_are_read_and_any_cut_of_it_asks_for_more()
    {
        using var wire = new MemoryStream();
        await using (var client = new SslStream(wire, leaveInnerStreamOpen: true))
        {
            // The memory gives no answer, so the handshake fails after its first flight, which is all that is wanted.
            await Assert.ThrowsAnyAsync<IOException>(() => client.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
            {
                TargetHost = "outbound_.80_._.nginx.example.com", ApplicationProtocols = [new("istio-peer-exchange"), new("istio")],
            }));
        }
        byte[] hello = wire.ToArray();
        ClientHello? read = ClientHello.Parse(hello, out bool more);
        Assert.False(more);
        Assert.Equal("outbound_.80_._.nginx.example.com", read!.ServerName);
        Assert.Equal(["istio-peer-exchange", "istio"], read.Protocols);
        int handshake = 5 + ((hello[3] << 8) | hello[4]);
        for (int length = 0; length < handshake; length++)
        {
            Assert.Null(ClientHello.Parse(hello.AsSpan(0, length), out more));
            Assert.True(more, $"{length}");
        }
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\n")]
    [InlineData("\u0016\u0001")]
    [InlineData("SSH-2.0-x")]
    public void What_is_not_TLS_is_told_at_once(string text)
    {
        Assert.Null(ClientHello.Parse(System.Text.Encoding.Latin1.GetBytes(text), out bool more));
        Assert.False(more);
    }

    [Fact]
    public void No_bytes_make_it_fail()
    {
        var random = new Random(7);
        for (int round = 0; round < 20_000; round++)
        {
            byte[] noise = new byte[random.Next(200)];
            random.NextBytes(noise);
            if (noise.Length > 9) { (noise[0], noise[1], noise[3], noise[5], noise[6], noise[7]) = (0x16, 3, 0, 1, 0, 0); }
            ClientHello.Parse(noise, out _);
        }
    }
}
