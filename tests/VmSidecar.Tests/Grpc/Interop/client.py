"""A gRPC client that is not ours: runs every case against the server given and prints one line per case."""
import sys
import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
same = lambda b: b


def stream(name):
    return channel.stream_stream("/interop.T/" + name, request_serializer=same, response_deserializer=same)


def unary(name):
    return channel.unary_unary("/interop.T/" + name, request_serializer=same, response_deserializer=same)


def status(name, act):
    try:
        print(name, "OK", act())
    except grpc.RpcError as e:
        print(name, e.code().name, repr(e.details()))


status("echo", lambda: [m for m in stream("Echo")(iter([b"one", b"", b"three"]), timeout=30)])
status("unary", lambda: unary("Echo")(b"x", timeout=30))
status("big", lambda: len(unary("Echo")(b"z" * 50_000_000, timeout=60)))
for code in range(1, 17):
    status("code%d" % code, lambda: unary("Code")(b"%d" % code, timeout=30))
status("unknown", lambda: unary("Nothing")(b"", timeout=30))
try:  # both sides keep the deadline: whose text comes is a race
    unary("Wait")(b"", timeout=0.2)
except grpc.RpcError as e:
    print("deadline", e.code().name)
status("gzip", lambda: unary("Echo")(b"a" * 1000, timeout=30, compression=grpc.Compression.Gzip))
call = stream("Echo")(iter([b"x"]), timeout=30)
status("first", lambda: next(call))
call.cancel()
status("metadata", lambda: unary("Metadata")(b"", metadata=[("clusterid", "Kubernetes"), ("x-bin", b"\x00\x01")], timeout=30))
