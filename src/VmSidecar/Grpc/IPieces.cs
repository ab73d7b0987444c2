namespace VmSidecar.Grpc;

/// <summary>The bytes of one message in pieces, with one owner, who disposes them; after that they must not be touched.</summary>
internal interface IPieces : IDisposable
{
    /// <summary>Bytes.</summary>
    int Length { get; }

    /// <summary>Ends when none of it is on its way to a disk any more, which may be never; <see cref="Pieces"/> may be read before.</summary>
    Task Ready { get; }

    /// <summary>The pieces in order; each is valid until the next is asked for. Throws <see cref="IOException"/> where they are read back and cannot be.</summary>
    IEnumerable<ReadOnlyMemory<byte>> Pieces { get; }
}
