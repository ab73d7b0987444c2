using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Discovered filters with modules to fetch: such a response waits aside, and other types overtake it; among themselves they stay in order.</summary>
internal sealed partial class XdsSession
{
    // Responses that may wait; past it istiod is read no further until one is through. istiod sends one per push.
    private const int MostAside = 16;

    private Task _conversions = Task.CompletedTask; // the last of the chain; written by the loop that reads istiod
    private int _converting;

    /// <summary>Takes ownership of the message and returns true when it is to be converted first.</summary>
    private async ValueTask<bool> TryConvertAsync(XdsEnvelope response, GrpcMessage message, CancellationToken stop)
    {
        if (context.Wasm is not { } wasm || response.TypeUrl != XdsTypeUrl.Extension) { return false; }
        if (_conversions.IsCompleted && !WasmConverter.Concerns(response, message.Body.Span)) { return false; }
        if (Volatile.Read(ref _converting) >= MostAside)
        {
            try { await _conversions.WaitAsync(stop); }
            catch
            {
                message.Dispose();
                throw;
            }
        }
        Interlocked.Increment(ref _converting);
        _conversions = ConvertAsync(wasm, _conversions, response, message, stop);
        return true;
    }

    private async Task ConvertAsync(WasmConverter wasm, Task before, XdsEnvelope response, GrpcMessage message, CancellationToken stop)
    {
        GrpcMessage? held = message;
        try
        {
            await Task.Yield(); // the loop that reads istiod goes on at once
            (byte[]? converted, string? error) = await wasm.ConvertAsync(response, held.Body, stop);
            await before;
            if (error is not null)
            {
                XdsLog.ExtensionRefused(context.Log, error, id);
                if (Keeps) { context.Keeper.Withheld(response); }
                TryAnswer(response, XdsMessages.Answer(delta, response, error));
                return;
            }
            if (converted is not null)
            {
                held.Dispose();
                held = GrpcMessage.Copy(converted);
            }
            GrpcMessage mended = Mended(response, held);
            held = null;
            await SendEnvoyAsync(response, mended, stop); // an Envoy that has gone is the end of the stream, which its own loop sees
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            if (delta) { XdsLog.DroppedDelta(context.Log, id); } else { XdsLog.Dropped(context.Log, id); }
        }
        finally
        {
            held?.Dispose();
            Interlocked.Decrement(ref _converting);
        }
    }
}
