"""An ADS client that is not ours: streams through the relay and prints one line per case. Messages are raw protobuf bytes."""
import random
import sys
import threading
import grpc

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
CDS = b"type.googleapis.com/envoy.config.cluster.v3.Cluster"
same = lambda b: b


def open_channel():
    return grpc.insecure_channel("unix:" + sys.argv[1], options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)])


def field(number, body):
    length, out = len(body), bytes([])
    tag = number << 3 | 2
    for value in (tag, length):
        while value >= 0x80:
            out += bytes([value & 0x7F | 0x80])
            value >>= 7
        out += bytes([value])
    return out + body


def request(delta, nonce=b"", node=False, junk=b""):
    body = field(1 if delta else 2, field(1, b"sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local")) if node else b""
    return body + field(2 if delta else 4, CDS) + (field(6 if delta else 5, nonce) if nonce else b"") + field(777, junk)


def run(name, delta, act):
    try:
        with open_channel() as channel:
            call = channel.stream_stream(SERVICE + ("Delta" if delta else "Stream") + "AggregatedResources", request_serializer=same, response_deserializer=same)
            print(name, "OK", act(call), flush=True)
    except grpc.RpcError as e:
        print(name, e.code().name, flush=True)


def echo(delta):
    """100 requests of random size; the far side answers each with its bytes wrapped in a response."""
    def act(call):
        rng, sent, got = random.Random(5), [], []
        asked = threading.Semaphore(4)

        def requests():
            for i in range(100):
                asked.acquire()
                sent.append(request(delta, b"" if i == 0 else b"n%d" % i, i == 0, rng.randbytes(rng.choice([0, 1, 1000, 16384, 70000, 700000]))))
                yield sent[-1]
        stream = call(requests(), timeout=60)
        for response in stream:
            got.append(response)
            asked.release()
            if len(got) == 100:
                stream.cancel()
                break
        return sum(1 for s, g in zip(sent, got) if g.endswith(field(900, s)))
    return act


def first_then(end):
    def act(call):
        done = threading.Event()

        def requests():
            yield request(True, node=True)
            if end != "half-close":
                done.wait(30)
        stream = call(requests(), timeout=2 if end == "deadline" else 60)
        try:
            if end == "half-close":
                return len(list(stream))
            next(stream)
            if end == "cancel":
                stream.cancel()
                return "cancelled"
            return next(stream)
        finally:
            done.set()
    return act


for delta in (False, True):
    run("echo-" + ("delta" if delta else "sotw"), delta, echo(delta))
run("cancel", True, first_then("cancel"))
run("half-close", True, first_then("half-close"))
run("deadline", True, first_then("deadline"))
