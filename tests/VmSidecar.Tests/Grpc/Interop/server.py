"""A gRPC server that is not ours, on the unix socket given; says READY, ends when its input ends."""
import sys
from concurrent import futures
import grpc

same = lambda b: b


def echo(requests, context):
    for message in requests:
        yield message


def late(requests, context):
    list(requests)
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no: caf\u00e9 100 %\n")
    yield b""


def after(requests, context):
    yield next(requests)
    context.abort(grpc.StatusCode.ABORTED, "after one")


def deadline(requests, context):
    yield b"%d" % round(context.time_remaining())


def squeezed(requests, context):
    context.set_compression(grpc.Compression.Gzip)
    for message in requests:
        yield message


def metadata(requests, context):
    yield repr(sorted((k, v) for k, v in context.invocation_metadata() if k in ("clusterid", "user-agent"))).encode()


def broken(requests, context):
    raise ValueError("a bug")
    yield b""


handlers = {name: grpc.stream_stream_rpc_method_handler(f, request_deserializer=same, response_serializer=same)
            for name, f in dict(Echo=echo, Late=late, After=after, Deadline=deadline, Squeezed=squeezed, Metadata=metadata, Broken=broken).items()}
server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("interop.T", handlers),))
server.add_insecure_port("unix:" + sys.argv[1])
server.start()
print("READY", flush=True)
sys.stdin.read()
server.stop(None if len(sys.argv) > 2 else 0).wait(5)
