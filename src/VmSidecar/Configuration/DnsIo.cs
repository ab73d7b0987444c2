namespace VmSidecar.Configuration;

/// <summary>How the DNS server reads its UDP sockets, clients' and upstream's.</summary>
internal enum DnsIo
{
    /// <summary>Many datagrams a call, on a thread of its own (epoll, recvmmsg, sendmmsg); portably where the kernel does not allow it.</summary>
    Auto,

    /// <summary>One at a time, on the thread pool.</summary>
    Portable,
}
