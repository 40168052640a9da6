"""`sonde serve ws://` against clients that break the protocol, stall, flood or vanish: what each is told,
how it is counted, and that the other clients go on."""

import socket
import struct
import threading
import time
import unittest

from sonde_program import SONDE, Serving, checked_record, engines, metric
from websocket_raw import (BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, RSV1, RSV2, TEXT, Wire,
                           close_of, errors, frame, masked, request, reset, ws)

NO_FIN = 0
BAD_KEY = "no Sec-WebSocket-Key of 16 bytes in base64"
NO_NAME = "a header line without a name that is a token before its colon"


def first(line):
    return request(first=line)


REQUESTS = (  # what is asked, the status of the answer, and how the report calls it
    ("POST", first(b"POST / HTTP/1.1"), 405, "another method than GET"),
    ("HEAD", first(b"HEAD / HTTP/1.1"), 405, "another method than GET"),
    ("get", first(b"get / HTTP/1.1"), 405, "another method than GET"),
    ("CONNECT", first(b"CONNECT a:1 HTTP/1.1"), 405, "another method than GET"),
    ("HTTP/1.0", first(b"GET / HTTP/1.0"), 505, "another version of HTTP than 1.1"),
    ("HTTP/2.0", first(b"GET / HTTP/2.0"), 505, "another version of HTTP than 1.1"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505,
     "another version of HTTP than 1.1"),
    ("no version", first(b"GET /"), 400, "a first line that is no HTTP request"),
    ("two spaces", first(b"GET  / HTTP/1.1"), 400, None),
    ("an empty line", b"\r\n\r\n", 400, "a first line that is no HTTP request"),
    ("no path", first(b"GET chat HTTP/1.1"), 400, "a target that is no path"),
    ("a fragment", first(b"GET /#x HTTP/1.1"), 400, "a target that is no path"),
    ("a byte above ASCII", first(b"GET /\xe4 HTTP/1.1"), 400, "a target that is no path"),
    ("no Host", request(Host=None), 400, "no Host, or one that is none"),
    ("an empty Host", request(Host=b""), 400, "no Host, or one that is none"),
    ("a Host with a space", request(Host=b"a b"), 400, "no Host, or one that is none"),
    ("two Hosts", request(b"Host: b\r\n"), 400, "twice what may be said once"),
    ("no Upgrade", request(Upgrade=None), 426, "no upgrade to websocket"),
    ("another Upgrade", request(Upgrade=b"h2c"), 426, "no upgrade to websocket"),
    ("a browser's page", b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", 426,
     "no upgrade to websocket"),
    ("no Connection", request(Connection=None), 400, "a Connection that does not say Upgrade"),
    ("another Connection", request(Connection=b"keep-alive"), 400,
     "a Connection that does not say Upgrade"),
    ("no key", request(Sec_WebSocket_Key=None), 400, BAD_KEY),
    ("an empty key", request(Sec_WebSocket_Key=b""), 400, BAD_KEY),
    ("a short key", request(Sec_WebSocket_Key=b"c2hvcnQ="), 400, BAD_KEY),
    ("a long key", request(Sec_WebSocket_Key=KEY + KEY), 400, BAD_KEY),
    ("a key that is no base64", request(Sec_WebSocket_Key=b"!" * 22 + b"=="), 400, BAD_KEY),
    ("a key without its end", request(Sec_WebSocket_Key=b"A" * 24), 400, BAD_KEY),
    ("two keys", request(b"Sec-WebSocket-Key: " + KEY + b"\r\n"), 400,
     "twice what may be said once"),
    ("no version of WebSocket", request(Sec_WebSocket_Version=None), 400,
     "no Sec-WebSocket-Version"),
    *(("version " + version, request(Sec_WebSocket_Version=version.encode()), 426,
       "another Sec-WebSocket-Version than 13") for version in ("0", "8", "12", "14", "255")),
    ("a version in words", request(Sec_WebSocket_Version=b"new"), 400, "no Sec-WebSocket-Version"),
    ("two Origins", request(b"Origin: http://a\r\nOrigin: http://b\r\n"), 400,
     "twice what may be said once"),
    ("a body", request(b"Content-Length: 3\r\n") + b"abc", 400, "a handshake with a body"),
    ("a body in chunks", request(b"Transfer-Encoding: chunked\r\n"), 400,
     "a handshake with a body"),
    ("extensions without sense", request(b"Sec-WebSocket-Extensions: ;;\r\n"), 400,
     "extensions that cannot be read"),
    ("subprotocols without sense", request(b"Sec-WebSocket-Protocol: a b\r\n"), 400,
     "subprotocols that cannot be read"),
    ("a folded line", request(b"X-Fold: a\r\n b\r\n"), 400,
     "a header line that continues the one before"),
    ("a zero byte", request(b"X-Zero: \0\r\n"), 400, "a control character in the head"),
    ("a bare LF", request(b"X-Bare: a\n"), 400, "a line that does not end with CR LF"),
    ("a bare CR", request(b"X-Bare: a\rb\r\n"), 400, "a line that does not end with CR LF"),
    ("no colon", request(b"nothing\r\n"), 400, NO_NAME),
    ("a space before the colon", request(b"X : y\r\n"), 400, NO_NAME),
    ("101 lines", request(b"X: y\r\n" * 101), 431, "more header lines than are allowed"),
    ("1 MiB of one line", b"GET /" + b"x" * (1 << 20), 431, "a head longer than is allowed"),
    ("a hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400,
     "a control character in the head"),
)

GOOD_REQUESTS = (
    request(), request(Upgrade=b"WebSocket"), request(Upgrade=b"h2c, websocket"),
    request(Connection=b"keep-alive, Upgrade"), request(Connection=b"UPGRADE"),
    request(Host=b"[::1]:80"), first(b"GET ws://a/chat?x=%20 HTTP/1.1"), request(b"X-Empty:\r\n"),
    request(b"Origin: null\r\n"), request(b"X-High: \xe4\r\n"), request(b"Content-Length: 0\r\n"),
    request(b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: other\r\n"),
    request(b"Sec-WebSocket-Extensions: unknown; a=\"b\", permessage-deflate\r\n"),
    request().replace(b"Sec-WebSocket-Key", b"sEC-wEBSOCKET-kEY"),
)

FRAMES = (  # what a client sends, the close code, and how the report calls it
    ("no mask", frame(TEXT, b"x"), 1002, "a client's frame without a mask"),
    ("an empty close without a mask", frame(CLOSE), 1002, "a client's frame without a mask"),
    ("reserved bits", masked(TEXT, b"x", head=FIN | RSV2), 1002, "a frame with reserved bits"),
    ("RSV1", masked(TEXT, b"x", head=FIN | RSV1), 1002, "a frame with reserved bits"),
    ("a reserved opcode", masked(7), 1002, "a frame with a reserved opcode"),
    ("2^63", masked(BINARY, length=1 << 63), 1002, "a length of 2^63 or more"),
    ("2^62", masked(BINARY, length=1 << 62), 1009, "a frame longer than is allowed"),
    ("a length in too many bytes", b"\x82\xfe\x00\x01" + bytes(5), 1002,
     "a length in more bytes than it needs"),
    ("a ping of 126 bytes", masked(PING, b"x" * 126), 1002,
     "a control frame of more than 125 bytes"),
    ("a ping in fragments", masked(PING, head=NO_FIN), 1002, "a control frame in fragments"),
    ("a continuation", masked(CONTINUATION), 1002, "a continuation of no message"),
    ("a message inside another", masked(TEXT, head=NO_FIN) + masked(TEXT), 1002,
     "a message that begins before another has ended"),
    ("bad text across fragments", masked(TEXT, b"\xe2\x82", head=NO_FIN)
     + masked(CONTINUATION, b"x"), 1007, "text that is not UTF-8"),
    ("half a character", masked(TEXT, b"\xe2\x82"), 1007, "text that ends inside a character"),
    ("a close of one byte", masked(CLOSE, b"x"), 1002, "a close frame of one byte"),
    ("a close with 1005", masked(CLOSE, close_of(1005)), 1002,
     "a close code that may not be sent"),
    ("a close with 999", masked(CLOSE, close_of(999)), 1002, "a close code that may not be sent"),
    ("a reason that is no text", masked(CLOSE, close_of(1000, b"\xff")), 1007,
     "a reason of the close that is not UTF-8"),
    ("a message in too many frames", masked(BINARY, b"x" * 60000, head=NO_FIN)
     + masked(CONTINUATION, b"x" * 60000, head=NO_FIN), 1009, "a message longer than is allowed"),
)


def of_server(one):
    return {(phase.removeprefix("server "), name): count
            for (phase, name), count in errors(one).items()}


class OtherClients:
    """`sonde ws` in order, at the same time: all its handshakes succeed."""

    def __init__(self, case, server, *arguments):
        self.case, self.one = case, None
        self.thread = threading.Thread(target=self.work, args=(server, arguments))

    def work(self, server, arguments):
        self.one = ws(self.case, server.address, *(arguments or ("-n", "300", "-c", "4")))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.thread.join()
        if kind is None:
            self.case.assertIsNotNone(self.one)
            self.case.assertEqual(self.one["errors"], [])


class HostileClients(unittest.TestCase):
    def stop(self, server):
        done = server.stop()
        self.assertEqual(done.returncode, 0, done.stderr)
        return checked_record(self, done.stdout)["runs"][0]

    def test_requests(self):
        """Each refused with its status, and the connection ended behind it."""
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine, "--json") as server:
                with OtherClients(self, server) as others:
                    for what, data, status, _ in REQUESTS:
                        with self.subTest(engine=engine, what=what), server.connect() as client:
                            wire = Wire(client)
                            try:
                                wire.send(data)
                            except (BrokenPipeError, ConnectionResetError):
                                pass
                            head, rest = wire.rest().split(b"\r\n\r\n", 1)
                            self.assertEqual(head.split(b" ", 2)[:2],
                                             [b"HTTP/1.1", b"%d" % status])
                            self.assertEqual(rest, b"")
                            if status == 426:
                                self.assertIn(b"\r\nSec-WebSocket-Version: 13", head)
                                self.assertIn(b"\r\nUpgrade: websocket", head)
                            if status == 405:
                                self.assertIn(b"\r\nAllow: GET", head)
                self.assertEqual(metric(others.one, "handshakes"), 300)
                one = self.stop(server)
            with self.subTest(engine=engine):
                self.assertEqual(metric(one, "server_requests_refused"), len(REQUESTS))
                self.assertEqual(metric(one, "server_upgraded"), 300)
                found = of_server(one)
                for name in {name for *_, name in REQUESTS if name}:
                    self.assertEqual(found.get(("upgrade", name), 0) >= sum(
                        name == other for *_, other in REQUESTS), True, name)
                self.assertEqual(sum(found.values()), len(REQUESTS))

    def test_requests_in_single_bytes(self):
        with Serving("ws://127.0.0.1:0") as server:
            for what, data, status, _ in REQUESTS:
                if len(data) > 2000:
                    continue
                with self.subTest(what=what), server.connect() as client:
                    wire = Wire(client)
                    try:
                        wire.drip(data)
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                    self.assertEqual(wire.rest().split(b" ", 2)[1], b"%d" % status)

    def test_requests_in_order(self):
        with Serving("ws://127.0.0.1:0", "--json") as server:
            for data in GOOD_REQUESTS:
                with self.subTest(data=data), server.connect() as client:
                    wire = Wire(client)
                    wire.send(data, masked(TEXT, b"at once"))  # frames in the same segment
                    head = wire.head()
                    self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
                    self.assertNotIn(b"Protocol: ", head)
                    self.assertEqual(wire.frame()[1:], (TEXT, b"at once"))
                    wire.send(masked(CLOSE))
                    self.assertEqual(wire.frame()[1:], (CLOSE, b""))
            one = self.stop(server)
            self.assertEqual((metric(one, "server_upgraded"), one["errors"]),
                             (len(GOOD_REQUESTS), []))

    def test_frames(self):
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine, "--json", "--max-message",
                         "100000") as server:
                with OtherClients(self, server):
                    for what, data, code, _ in FRAMES:
                        with self.subTest(engine=engine, what=what), server.connect() as client:
                            wire = Wire(client)
                            wire.send(request(), data)
                            wire.head()
                            self.assertEqual(wire.frame(), (FIN | CLOSE, CLOSE, close_of(code)))
                            self.assertEqual(wire.rest(), b"")
                one = self.stop(server)
            with self.subTest(engine=engine):
                expected = {}
                for *_, name in FRAMES:
                    expected["protocol", name] = expected.get(("protocol", name), 0) + 1
                self.assertEqual(of_server(one), expected)

    def test_clients_that_vanish(self):
        half = request()[:40]
        part = masked(TEXT, b"x" * 100)[:50]
        cases = (("before the request", b"", "upgrade"), ("in the request", half, "upgrade"),
                 ("behind the request", request(), "receive"),
                 ("in a frame", request() + part, "receive"))
        names = {("upgrade", "the client closed the connection"),
                 ("receive", "the connection ended without a close frame"),
                 ("receive", "ECONNRESET"), ("send", "ECONNRESET"), ("send", "EPIPE")}
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine, "--json") as server:
                with OtherClients(self, server):
                    for what, data, _ in cases:
                        for end in (socket.socket.close, reset):
                            client = server.connect()
                            if data:
                                client.sendall(data)
                            if data[:40] == half and len(data) > 40:
                                client.recv(65536)
                            time.sleep(0.02)
                            end(client)
                one = self.stop(server)
            with self.subTest(engine=engine):
                found = of_server(one)
                self.assertLessEqual(set(found), names)
                self.assertEqual(sum(found.values()), 2 * len(cases))
                for phase in ("upgrade", "receive"):
                    self.assertGreaterEqual(sum(count for (where, _), count in found.items()
                                                if where == phase), 2)

    def test_slow_requests(self):
        """A request that comes byte by byte has no more time than --idle-timeout in all; the others
        are served beside many of them."""
        for engine in engines():
            if engine == "threads":
                continue  # one connection for each thread, of which there are so many
            with self.subTest(engine=engine), Serving("ws://127.0.0.1:0", "-e", engine, "--json",
                                                      "--idle-timeout", "1s") as server:
                slow = [server.connect() for _ in range(100)]
                for client in slow:
                    self.addCleanup(client.close)
                ended = time.monotonic() + 20
                at, open_ones = 0, list(slow)
                with OtherClients(self, server):
                    while open_ones and time.monotonic() < ended:
                        for client in list(open_ones):
                            try:
                                client.sendall(b"GET / HTTP/1.1\r\nX: "[at:at + 1] or b"x")
                            except OSError:
                                open_ones.remove(client)
                        at += 1
                        time.sleep(0.1)
                self.assertEqual(open_ones, [])
                self.assertEqual(metric(self.stop(server), "server_idle_closed"), 100)

    def test_floods_without_reading(self):
        """Of pings, and of messages: the answers take bounded memory, and the others are served."""
        for engine in engines():
            for data in (masked(PING, b"x" * 125) * 400, masked(BINARY, b"x" * 60000)):
                with self.subTest(engine=engine, opcode=data[0] & 15), Serving(
                        "ws://127.0.0.1:0", "-e", engine, "--json") as server:
                    client = server.connect()
                    client.sendall(request())
                    client.settimeout(0.3)
                    sent = 0
                    try:
                        while sent < 256 << 20:
                            sent += client.send(data)
                    except TimeoutError:
                        pass  # it does not read any more
                    self.assertLess(sent, 256 << 20)
                    with OtherClients(self, server, "-n", "50", "-c", "2"):
                        pass
                    with open("/proc/%d/status" % server.process.pid, encoding="ascii") as file:
                        rss = next(int(line.split()[1]) << 10 for line in file
                                   if line.startswith("VmRSS:"))
                    if "build-test" not in SONDE:  # the sanitizer keeps memory of its own
                        self.assertLess(rss, 128 << 20)
                    reset(client)

    def test_more_than_the_memory(self):
        """Messages that are not whole: who finds no room is told 1011, and the others are served."""
        with Serving("ws://127.0.0.1:0", "--json", "--answer-memory", "1m") as server:
            clients = []
            for _ in range(20):
                client = server.connect()
                client.sendall(request() + masked(BINARY, b"x" * 200000, head=NO_FIN))
                clients.append(Wire(client))
            with OtherClients(self, server):
                pass
            codes = []
            for wire in clients:
                wire.client.settimeout(0.5)
                try:
                    wire.head()
                    codes.append(wire.frame()[2])
                except (TimeoutError, ConnectionResetError):
                    pass
            self.assertGreater(len(codes), 10)
            self.assertEqual(set(codes), {struct.pack(">H", 1011)})
            for wire in clients:
                wire.client.close()
            self.assertIn(("protocol", "no memory"), of_server(self.stop(server)))


if __name__ == "__main__":
    unittest.main()
