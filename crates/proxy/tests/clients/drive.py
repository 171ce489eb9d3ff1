"""Drives every call and every toxic of PyPI's toxiproxy-python. The API's host and port are the arguments."""

import json
import socket
import sys
import threading
import time

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

DATA = bytes(i % 251 for i in range(4000))


def echo():
    """Sends back what it gets, and ends when its client does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client):
        with client:
            try:
                while data := client.recv(65536):
                    client.sendall(data)
            except OSError:
                pass

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1]


def exchange(proxy, end=True):
    """What comes back: the bytes, in how many pieces, when the first came and when the end, and how it ended."""
    host, port = proxy.listen.rsplit(":", 1)
    start = time.monotonic()
    seen, pieces, first, error = b"", 0, None, None
    try:
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(DATA)
            if end:
                client.shutdown(socket.SHUT_WR)
            while data := client.recv(65536):
                first = first or time.monotonic() - start
                seen, pieces = seen + data, pieces + 1
    except (ConnectionResetError, ConnectionRefusedError, BrokenPipeError) as exception:
        error = exception
    return seen, pieces, first, time.monotonic() - start, error


def between(value, low, high, what):
    assert low <= value < high, "%s: %s is not in [%s, %s)" % (what, value, low, high)


def raises(kind, act):
    try:
        act()
    except kind:
        return
    raise AssertionError("%s was not raised" % kind.__name__)


def calls(server, upstream):
    assert server.running()
    assert json.loads(server.version())["version"].startswith("2.")
    proxy = server.create(name="python", upstream=upstream)
    assert proxy.enabled and proxy.listen.startswith("127.0.0.1:")
    raises(ProxyExists, lambda: server.create(name="python", upstream=upstream))
    assert list(server.proxies()) == ["python"]
    assert server.get_proxy("python").upstream == upstream and server.get_proxy("none") is None
    with proxy.down():
        assert isinstance(exchange(proxy)[4], ConnectionRefusedError)
    assert exchange(proxy)[0] == DATA
    proxy.disable()
    assert not server.get_proxy("python").enabled
    assert server.reset() and server.get_proxy("python").enabled
    made = server.populate([{"name": "one", "upstream": upstream, "listen": "127.0.0.1:0"}, {"name": "python", "upstream": upstream, "listen": proxy.listen}])
    assert [p.name for p in made] == ["one"]
    assert server.destroy(made[0])
    raises(NotFound, lambda: server.destroy(made[0]))
    return proxy


def with_toxic(proxy, kind, attributes, check, **options):
    proxy.add_toxic(type=kind, attributes=attributes, **options)
    name = "%s_%s" % (kind, options.get("stream", "downstream"))
    toxic = proxy.get_toxic(name)
    assert toxic.type == kind
    for key, value in attributes.items():
        assert toxic.attributes[key] == value
    check()
    assert proxy.destroy_toxic(name)
    assert proxy.get_toxic(name) is None


def toxics(proxy):
    def latency():
        seen, _, first, _, _ = exchange(proxy)
        assert seen == DATA
        between(first, 0.148, 1.5, "latency")
        raises(ProxyExists, lambda: proxy.add_toxic(type="latency"))

    def slow():
        seen, _, _, ended, _ = exchange(proxy)
        assert seen == DATA
        between(ended, 0.248, 4, "a slow toxic")

    def timeout():
        seen, _, _, ended, _ = exchange(proxy, end=False)
        assert seen == b""
        between(ended, 0.198, 2.5, "timeout")

    def reset():
        assert isinstance(exchange(proxy, end=False)[4], ConnectionResetError)

    def slicer():
        seen, pieces, _, _, _ = exchange(proxy)
        assert seen == DATA
        between(pieces, 4, 100, "pieces")

    def limit():
        assert exchange(proxy, end=False)[0] == DATA[:1234]

    def nothing():
        seen, _, first, _, _ = exchange(proxy)
        assert seen == DATA
        between(first, 0, 4, "nothing")

    with_toxic(proxy, "latency", {"latency": 150, "jitter": 0}, latency)
    with_toxic(proxy, "latency", {"latency": 5000}, nothing, toxicity=0, stream="upstream")
    with_toxic(proxy, "bandwidth", {"rate": 10}, slow)
    with_toxic(proxy, "slow_close", {"delay": 250}, slow)
    with_toxic(proxy, "timeout", {"timeout": 200}, timeout)
    with_toxic(proxy, "reset_peer", {"timeout": 0}, reset)
    with_toxic(proxy, "slicer", {"average_size": 500, "size_variation": 100, "delay": 20000}, slicer)
    with_toxic(proxy, "limit_data", {"bytes": 1234}, limit)
    with_toxic(proxy, "noop", {}, nothing)
    raises(InvalidToxic, lambda: proxy.add_toxic(type="nonsense"))
    raises(InvalidToxic, lambda: proxy.add_toxic(type="latency", stream="sideways"))
    proxy.add_toxic(type="latency", attributes={"latency": 1}, name="last")
    proxy.add_toxic(type="latency", attributes={"latency": 1}, name="first", stream="upstream")
    assert list(proxy.toxics()) == ["first", "last"]


def main():
    server = Toxiproxy()
    server.update_api_consumer(sys.argv[1], int(sys.argv[2]))
    proxy = calls(server, echo())
    toxics(proxy)
    server.destroy_all()
    assert server.proxies() == {}
    print("all calls and all toxics did what they say")


main()
