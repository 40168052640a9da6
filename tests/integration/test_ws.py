"""`sonde ws` and `sonde serve ws://`: against Debian's python3-websockets and python3-autobahn in both
roles, against servers and clients that break the protocol, and counted by others."""

import asyncio
import base64
import hashlib
import os
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
import unittest

import websockets

from sonde_program import (PATIENCE_S, Misbehaving, Serving, check_one_line, checked_record, engines,
                           metric, run)
from websocket_raw import errors, reset, url, ws

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
QUICK = ("--timeout", "300ms", "--connect-timeout", "300ms")


class Peer:
    """An echo server of python3-websockets on a thread."""

    def __init__(self, **options):
        self.options = options
        self.codes, self.messages, self.kinds, self.paths = [], 0, set(), set()
        self.of_each = []  # messages of each connection
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    async def echo(self, connection):
        self.paths.add(connection.path)
        number = len(self.of_each)
        self.of_each.append(0)
        try:
            async for message in connection:
                self.messages += 1
                self.of_each[number] += 1
                self.kinds.add(type(message))
                await connection.send(message)
        except websockets.ConnectionClosedError:
            pass  # what it says of other codes than 1000 and 1001
        self.codes.append(connection.close_code)

    async def main(self):
        self.over = asyncio.Event()
        async with websockets.serve(self.echo, "127.0.0.1", 0, **self.options) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()
            await self.over.wait()

    def serve(self):
        self.loop.run_until_complete(self.main())

    def __enter__(self):
        self.thread.start()
        self.ready.wait(PATIENCE_S)
        self.url = "ws://127.0.0.1:%d/a/path?x=1" % self.port
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(PATIENCE_S)
        self.loop.close()


class AgainstWebsockets(unittest.TestCase):
    def test_handshakes_are_counted_at_both_ends(self):
        for engine in engines():
            with self.subTest(engine=engine), Peer() as peer:
                one = ws(self, peer.url, "-e", engine, "-n", "200", "-c", "10", "--code", "1001")
                self.assertEqual(metric(one, "handshakes"), 200)
                self.assertEqual(metric(one, "handshakes_failed"), 0)
                self.assertEqual(metric(one, "connections_dialed"), 200)
                # Of the last ones the end may come when the run is over.
                self.assertIn(metric(one, "server_ended_first"), range(190, 201))
                self.assertEqual(metric(one, "client_ended_first"), 0)
                for name in ("response_time", "service_time", "connect", "upgrade", "close"):
                    self.assertEqual(one["histograms"][name]["count"], 200, name)
                self.assertEqual(one["errors"], [])
                self.assertEqual(peer.codes, [1001] * 200)
                self.assertEqual(peer.paths, {"/a/path?x=1"})

    def test_messages(self):
        cases = (("binary", "0", ()), ("binary", "1", ("--high", "9")), ("text", "64", ()),
                 ("binary", "126", ("--fragment", "10")), ("text", "65536", ("--high", "3")),
                 ("binary", "300000", ("--fragment", "70000")))
        for kind, size, rest in cases:
            with self.subTest(kind=kind, size=size, rest=rest), Peer(compression=None) as peer:
                one = ws(self, peer.url, "--mode", "message", "--message", kind, "-m", size, "-n",
                         "100", "-c", "3", "--code", "3999", *rest)
                self.assertEqual(metric(one, "round_trips"), 100)
                self.assertEqual(metric(one, "closes"), 3)
                self.assertEqual(one["histograms"]["response_time"]["count"], 100)
                self.assertEqual(one["histograms"]["upgrade"]["count"], 3)
                self.assertEqual(peer.messages, 100)
                self.assertEqual(peer.kinds, {str if kind == "text" else bytes})
                self.assertEqual(peer.codes, [3999] * 3)

    def test_each_connection_has_its_part(self):
        for threads in ("1", "3"):
            with self.subTest(threads=threads), Peer() as peer:
                one = ws(self, peer.url, "--mode", "message", "-n", "80", "-c", "30", "-t", threads,
                         "--high", "4")
                self.assertEqual(metric(one, "round_trips"), 80)
                self.assertEqual(metric(one, "closes"), 30)
                self.assertEqual(len(peer.of_each), 30)
                self.assertLessEqual(set(peer.of_each), {2, 3})
        with Peer() as peer:
            one = ws(self, peer.url, "--mode", "message", "-n", "3", "-c", "5")
            self.assertEqual((metric(one, "round_trips"), metric(one, "closes")), (3, 5))

    def test_deflate(self):
        for rest in ((), ("--fragment", "50"), ("--message", "text", "--high", "4")):
            with self.subTest(rest=rest), Peer(compression="deflate") as peer:
                one = ws(self, peer.url, "--mode", "message", "-m", "20000", "-n", "60", "-c", "2",
                         "--deflate", *rest)
                self.assertEqual(metric(one, "round_trips"), 60)
                self.assertLess(metric(one, "wire_bytes_per_message"), 2000)
                self.assertEqual((peer.messages, peer.codes), (60, [1000] * 2))
        for size in (20, 1000, 70000):  # the window of what is compressed remembers no message
            with self.subTest(size=size), Peer(compression="deflate") as peer:
                one = ws(self, peer.url, "--mode", "message", "-m", str(size), "-n", "200",
                         "--deflate", "--payload", "random")
                self.assertEqual(metric(one, "round_trips"), 200)
                self.assertGreaterEqual(metric(one, "wire_bytes_per_message"), size)
        with Peer(compression=None) as peer:
            one = ws(self, peer.url, "--mode", "message", "-n", "5", "--deflate", status=1)
            self.assertEqual(errors(one),
                             {("upgrade", "permessage-deflate was not agreed to"): 1})

    def test_pings(self):
        with Peer() as peer:
            one = ws(self, peer.url, "--mode", "message", "--message", "ping", "-m", "125", "-n",
                     "100", "-c", "2")
            self.assertEqual(metric(one, "round_trips"), 100)
            self.assertEqual((peer.messages, peer.codes), (0, [1000] * 2))

    def test_a_schedule(self):
        with Peer() as peer:
            one = ws(self, peer.url, "-r", "100", "-n", "50", "-c", "20")
            self.assertEqual(metric(one, "handshakes"), 50)
            self.assertEqual(one["histograms"]["send_lag"]["count"], 50)
            one = ws(self, peer.url, "--mode", "message", "-r", "500", "-n", "100", "-c", "2")
            self.assertEqual(metric(one, "round_trips"), 100)
            self.assertEqual(one["histograms"]["send_lag"]["count"], 100)


class OwnServer(unittest.TestCase):
    def test_handshakes(self):
        for engine in engines():
            for transport in ("tcp:", "unix:"):
                with self.subTest(engine=engine, transport=transport):
                    one = ws(self, transport, "-e", engine, "-n", "500", "-c", "7")
                    self.assertEqual(metric(one, "handshakes"), 500)
                    self.assertEqual(metric(one, "server_upgraded"), 500)
                    self.assertEqual(metric(one, "server_closed"), 500)
                    self.assertEqual(one["errors"], [])

    def test_messages(self):
        for engine in engines():
            for transport in ("tcp:", "unix:", "local:", "pipe:"):
                for rest in ((), ("--high", "20", "-m", "3000"), ("--deflate", "-m", "9000"),
                             ("-m", "200k", "--high", "3", "--fragment", "64k")):
                    with self.subTest(engine=engine, transport=transport, rest=rest):
                        one = ws(self, transport, "--mode", "message", "-e", engine, "-n", "300",
                                 "-c", "3", *rest)
                        self.assertEqual(metric(one, "round_trips"), 300)
                        self.assertEqual(metric(one, "server_messages"), 300)
                        self.assertEqual(metric(one, "closes"), 3)
                        self.assertEqual(one["errors"], [])

    def test_connections_of_messages_are_counted_at_both_ends(self):
        """They begin before the window and end behind it."""
        for engine in ("epoll", "threads"):
            with self.subTest(engine=engine):
                one = ws(self, "tcp:", "-e", engine, "--mode", "message", "-c", "6", "-d", "200ms",
                         "-w", "50ms")
                for name in ("closes", "server_accepted", "server_upgraded", "server_closed"):
                    self.assertEqual(metric(one, name), 6, name)

    def test_bytes_of_a_message(self):
        """Two bytes of header and four of mask, and nothing of the close frames."""
        for bound in (("-n", "40"), ("-d", "100ms", "-w", "0")):
            one = ws(self, "--mode", "message", "-c", "4", "-m", "64", *bound)
            self.assertEqual(metric(one, "wire_bytes_per_message"), 70)

    def test_marks(self):
        one = ws(self, "-c", "20", "--low", "5", "-n", "400")
        self.assertEqual(metric(one, "handshakes"), 400)
        # From 4 in flight up to 20 again: at least 16 are dialed at a time.
        self.assertGreaterEqual(metric(one, "throttled"), 1)
        self.assertLessEqual(metric(one, "throttled"), 400 // 16)
        self.assertLessEqual(abs(metric(one, "throttled") - metric(one, "resumed")), 1)
        one = ws(self, "-c", "20", "-n", "40")
        self.assertNotIn("throttled", one["metrics"])
        self.assertNotIn("resumed", one["metrics"])

    def test_the_servers_form_of_an_address(self):
        with tempfile.TemporaryDirectory() as folder, \
                Serving("ws+unix:%s/socket" % folder) as server:
            one = ws(self, "ws+unix:%s/socket" % folder, "-n", "20", "-c", "2")
            self.assertEqual(metric(one, "handshakes"), 20)

    def test_source_addresses(self):
        one = ws(self, "-c", "4", "-n", "100", "--source", "127.0.0.2-127.0.0.5")
        self.assertEqual(metric(one, "handshakes"), 100)

    def test_a_window_and_threads(self):
        one = ws(self, "-c", "8", "-t", "2", "-d", "300ms", "-w", "100ms", "--server-threads", "2")
        self.assertGreater(metric(one, "handshakes"), 0)
        self.assertEqual(metric(one, "handshakes_failed"), 0)
        self.assertEqual(one["errors"], [])

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_calls_for_each_message(self):
        """One send and one receive a message at the client, by an independent count."""
        path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "sonde-ws-%d.strace" % os.getpid())
        with Serving("ws://127.0.0.1:0") as server:
            try:
                # LeakSanitizer traces too, and so cannot be traced.
                quiet = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                         + ":detect_leaks=0"}
                one = ws(self, server.address, "--mode", "message", "-n", "400", env=quiet,
                         prefix=["strace", "-f", "-qq", "-o", path, "-e", "trace=sendto,recvfrom"])
                with open(path, encoding="utf-8") as file:
                    lines = file.read().splitlines()
            finally:
                if os.path.exists(path):
                    os.remove(path)
        self.assertEqual(metric(one, "round_trips"), 400)
        # The upgrade and the close are a send each.
        self.assertEqual(sum("sendto(" in line for line in lines), 402)
        received = sum(bool(re.search(r"recvfrom\(.*= [1-9]", line)) for line in lines)
        self.assertEqual(received, 402)


def request_of(client):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            raise OSError("gone")
        data += piece
    return data


def accept_of(request):
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request).group(1)
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def upgrade(client, extra=b"", accept=None):
    request = request_of(client)
    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                   + (accept or accept_of(request)) + b"\r\n" + extra + b"\r\n")


def answers(text):
    def handle(_, client):
        request_of(client)
        client.sendall(text)
        client.recv(65536)
    return handle


def sends(data):
    """Upgrades, hears a first frame, sends what it is told to, and waits for the client to leave."""
    def handle(_, client):
        upgrade(client)
        client.recv(65536)
        client.sendall(data)
        while client.recv(65536):
            pass
    return handle


def silent_before(server, client):
    server.over.wait(PATIENCE_S)


def silent_behind_upgrade(server, client):
    upgrade(client)
    server.over.wait(PATIENCE_S)


def resets_before(_, client):
    request_of(client)
    reset(client)


def resets_behind_upgrade(_, client):
    upgrade(client)
    client.recv(1)
    reset(client)


def ends_behind_upgrade(_, client):
    upgrade(client)
    client.recv(65536)


def never_ends(server, client):
    upgrade(client)
    client.recv(65536)
    client.sendall(b"\x88\x02\x03\xe8")
    server.over.wait(PATIENCE_S)


def wrong_accept(_, client):
    upgrade(client, accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    client.recv(65536)


def unasked(extra):
    def handle(_, client):
        upgrade(client, extra=extra)
        client.recv(65536)
    return handle


UPGRADES = (  # a server's answer, and how the report calls it
    (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "answered with status 200"),
    (answers(b"HTTP/1.1 301 Moved\r\nLocation: ws://other/\r\n\r\n"),
     "answered with status 301 to ws://other/"),
    (answers(b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n"), "answered with status 302 to ??"),
    (answers(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"), "answered with status 401"),
    (answers(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "a first line that is no HTTP status"),
    (answers(b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
     "no Sec-WebSocket-Accept"),
    (answers(b"HTTP/1.1 101 " + b"x" * 70000), "a head longer than is allowed"),
    (wrong_accept, "a Sec-WebSocket-Accept that does not follow from the key"),
    (unasked(b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
     "an extension that was not offered"),
    (unasked(b"Sec-WebSocket-Protocol: chat\r\n"), "a subprotocol that was not offered"),
    (silent_before, "no answer within --timeout"),
    (resets_before, "ECONNRESET"),
    (lambda _, client: request_of(client), "the server closed the connection"),
)

FRAMES = (  # of messages: what a server sends behind its upgrade
    (b"\x82\x81\x00\x00\x00\x00x", "a server's frame with a mask"),
    (b"\xc2\x01x", "a frame with reserved bits"),
    (b"\x83\x00", "a frame with a reserved opcode"),
    (b"\x82\x7f\x80" + bytes(7), "a length of 2^63 or more"),
    (b"\x82\x7e\x00\x01x", "a length in more bytes than it needs"),
    (b"\x82\x7f\x00\x00\x01" + bytes(5), "a frame longer than is allowed"),
    (b"\x89\x7e\x00\x7e" + bytes(126), "a control frame of more than 125 bytes"),
    (b"\x09\x00", "a control frame in fragments"),
    (b"\x80\x00", "a continuation of no message"),
    (b"\x02\x01\x00\x82\x00", "a message that begins before another has ended"),
    (b"\x01\x01!\x80\x01\xff", "text that is not UTF-8"),
    (b"\x88\x01\x03", "a close frame of one byte"),
    (b"\x88\x02\x03\xe7", "a close code that may not be sent"),
    (b"\x88\x02\x03\xed", "a close code that may not be sent"),
    (b"\x88\x03\x03\xe8\xff", "a reason of the close that is not UTF-8"),
    (b"\x88\x02\x03\xf3", "the server closed with code 1011"),
    (b"\x82\x01x", "an answer of another length than its message"),
    (b"\x82\x40" + bytes(64), "the answer is not what was sent"),
)


class HostileServers(unittest.TestCase):
    def test_each_answer_to_the_upgrade_has_its_name(self):
        for handle, name in UPGRADES:
            with self.subTest(name=name), Misbehaving(handle) as server:
                one = ws(self, url(server), "-n", "3", "-c", "2", *QUICK, status=1)
                self.assertEqual(errors(one), {("upgrade", name): 3})
                self.assertEqual(metric(one, "handshakes_failed"), 3)
                self.assertEqual(metric(one, "handshakes"), 0)

    def test_what_fails_behind_the_window_is_counted(self):
        """The counter and the table speak of the same handshakes."""
        with Misbehaving(silent_before) as server:
            one = ws(self, url(server), "-c", "3", "-d", "300ms", "-w", "0", "--timeout", "800ms",
                     status=1)
            self.assertEqual(errors(one), {("upgrade", "no answer within --timeout"): 3})
            self.assertEqual(metric(one, "handshakes_failed"), 3)

    def test_each_frame_has_its_name(self):
        kinds = {"text that is not UTF-8": ("--message", "text")}
        for data, name in FRAMES:
            with self.subTest(name=name), Misbehaving(sends(data)) as server:
                one = ws(self, url(server), "--mode", "message", "-d", "2s", "-w", "0",
                         *kinds.get(name, ()), *QUICK, status=1)
                self.assertEqual(errors(one), {("protocol", name): 1})

    def test_the_close(self):
        cases = ((silent_behind_upgrade, "close", "no answer within --timeout"),
                 (resets_behind_upgrade, "close", "ECONNRESET"),
                 (ends_behind_upgrade, "close", "the connection ended without a close frame"),
                 (sends(b"\xc2\x01x"), "close", "a frame with reserved bits"))
        for handle, phase, name in cases:
            with self.subTest(name=name), Misbehaving(handle) as server:
                one = ws(self, url(server), "-n", "3", "-c", "2", *QUICK, status=1)
                self.assertEqual(errors(one), {(phase, name): 3})

    def test_who_never_ends_the_connection(self):
        with Misbehaving(never_ends) as server:
            one = ws(self, url(server), "-n", "2", "-c", "1")
            self.assertEqual(metric(one, "handshakes"), 2)
            self.assertEqual(metric(one, "client_ended_first"), 1)  # the last is over at its close

    def test_silence_behind_the_upgrade_ends_with_the_drain(self):
        with Misbehaving(silent_behind_upgrade) as server:
            began = time.monotonic()
            done = run("ws", url(server), "--mode", "message", "-d", "200ms", "-w", "0", "--drain",
                       "200ms")
            check_one_line(self, done, 1)
            self.assertLess(time.monotonic() - began, PATIENCE_S)
            self.assertIn("were not answered within the drain", done.stderr)

    def test_others_are_untouched(self):
        lock, count = threading.Lock(), [0]

        def every_fifth(_, client):
            with lock:
                count[0] += 1
                bad = count[0] % 5 == 0
            if bad:
                request_of(client)
                client.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
                return
            upgrade(client)
            client.recv(65536)
            client.sendall(b"\x88\x02\x03\xe8")

        with Misbehaving(every_fifth) as server:
            one = ws(self, url(server), "-n", "100", "-c", "4")
            self.assertEqual(metric(one, "handshakes"), 80)
            self.assertEqual(metric(one, "handshakes_failed"), 20)
            self.assertEqual(errors(one), {("upgrade", "answered with status 503"): 20})

    def test_pieces_and_pings(self):
        """An answer byte by byte, a greeting, interim answers and pings in between."""
        def handle(_, client):
            accept = accept_of(request_of(client))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Yes\r\nUpgrade: WebSocket\r\n"
                         b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " + accept
                         + b"\r\n\r\n"):
                client.sendall(bytes([byte]))
            client.sendall(b"\x81\x05hello\x89\x02pp\x88\x00" if client.recv(2)[0] == 0x88 else b"")
        with Misbehaving(handle) as server:
            one = ws(self, url(server), "-n", "4", "-c", "2")
            self.assertEqual(metric(one, "handshakes"), 4)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        done = run("ws", "ws://127.0.0.1:%d" % port)
        check_one_line(self, done, 1)
        self.assertIn("Connection refused", done.stderr)
        for mode, phase in (("message", "connect"), ("handshake", "warm-up connect")):
            one = ws(self, "ws://127.0.0.1:%d" % port, "--mode", mode, "-c", "3", status=1)
            self.assertEqual(set(errors(one)), {(phase, "ECONNREFUSED")}, mode)

    def test_failures_before_the_window(self):
        def refuse(_, client):
            request_of(client)
            client.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        with Misbehaving(refuse) as server:
            one = ws(self, url(server), "--mode", "message", "-c", "3", status=1)
        self.assertEqual(errors(one), {("warm-up upgrade", "answered with status 401"): 3})
        self.assertEqual(metric(one, "messages_lost"), 0)

    def test_a_server_that_goes_away(self):
        with Serving("ws://127.0.0.1:0") as server:
            def stop():
                time.sleep(0.3)
                server.process.kill()
            thread = threading.Thread(target=stop)
            thread.start()
            done = run("ws", server.address, "-c", "4", "-d", "1s", "-w", "0", "-i", "100ms",
                       "--json")
            thread.join()
        record = checked_record(self, done.stdout)
        one = record["runs"][0]
        self.assertGreater(metric(one, "handshakes"), 0)
        self.assertGreater(metric(one, "handshakes_failed"), 0)
        self.assertIn(("connect", "ECONNREFUSED"), errors(one))
        self.assertTrue(any("nothing but errors from" in text for text in record["warnings"]))


PING = ("--mode", "message", "--message", "ping")


class CommandLine(unittest.TestCase):
    def test_refusals(self):
        for arguments, text in ((("wss://user@localhost/",), "wss://user@localhost/: a user"),
                                (("wss:localhost",), "no // behind its scheme"),
                                (("ws://user:x@localhost/",), "a user's name"),
                                (("ws://localhost/#x",), "a fragment"),
                                (("ws://localhost/ x",), "writes as %XX"),
                                (("ws://localhost/ä",), "writes as %XX"),
                                (("ws://:80/",), "no host"),
                                (("ws://",), "ws://: no host"),
                                (("ws://localhost:/",), "a port that is no number"),
                                (("ws://localhost/" + 8000 * "x",), "longer than 8,000"),
                                (("ws://localhost:65536/a",), "ws://localhost:65536/a: a port"),
                                (("http://localhost:90/a",), "did you mean ws://localhost:90/a?"),
                                (("https://localhost/",), "did you mean wss://localhost/?"),
                                (("127.0.0.1:9000/a",), "did you mean ws://127.0.0.1:9000/a?"),
                                (("[::1]:9000",), "did you mean ws://[::1]:9000?"),
                                (("localhost:9000",), "did you mean ws://localhost:9000?"),
                                (("wws://localhost:9000",), "did you mean ws://"),
                                (("ftp://localhost",), "wss://HOST:PORT/PATH"),
                                (("ws://nosuchhost.invalid/a",), "ws://nosuchhost.invalid/a: "),
                                (("udp:",), "a stream of bytes"),
                                (("local:",), "a transport that connects"),
                                (("sonde://127.0.0.1:1",), "a protocol of its own"),
                                (("-e", "null"), "null answers no handshake"),
                                (("--code", "1005"), "may not be sent"),
                                (("--code", "2999"), "may not be sent"),
                                (PING + ("-m", "126"), "at most 125"),
                                (PING + ("--high", "2"), "the latest"),
                                (PING + ("--fragment", "2"), "one frame"),
                                (("ws://127.0.0.1:1", "--agree-deflate"), "starts no server"),
                                (("--ramp", "1s"), "no effect with --mode handshake"),
                                (("--ping-every", "1s"), "one of --mode hold"),
                                (("-m", "1k"), "one of --mode message"),
                                (("--high", "2"), "one of --mode message"),
                                (("--no-verify",), "one of --mode message"),
                                (("--mode", "hold", "--message", "text"), "no effect with"),
                                (("--mode", "hold", "--low", "1"), "one of --mode handshake"),
                                (("-c", "9", "--low", "10"), "the connections of a thread, 9"),
                                (("-c", "9", "-t", "2", "--low", "6"),
                                 "the connections of a thread, 5")):
            with self.subTest(arguments=arguments):
                done = run("ws", *arguments)
                self.assertIn(done.returncode, (1, 2))
                check_one_line(self, done, done.returncode)
                self.assertIn(text, done.stderr)


async def talk(address, **options):
    """What a client of python3-websockets finds at an echo server."""
    async with websockets.connect(address, max_size=None, **options) as connection:
        for message in ("", "x", "ä€𝄞" * 1000, b"", bytes(range(256)) * 1000):
            await connection.send(message)
            assert await connection.recv() == message
        await connection.send(part for part in ("one ", "two ", "three"))
        assert await connection.recv() == "one two three"
        await asyncio.wait_for(await connection.ping(b"payload"), PATIENCE_S)
        extensions = [extension.name for extension in connection.extensions]
        await connection.close(code=3456)
        assert connection.close_code == 3456, connection.close_code
        return extensions


def frame(opcode, payload, mask=b"\x00\x00\x00\x00", head=0x80):
    return bytes([head | opcode, 0x80 | len(payload)]) + mask + payload


class Server(unittest.TestCase):
    def serving(self, *arguments):
        return Serving("ws://127.0.0.1:0", *arguments)

    def connect(self, server, request=None):
        client = socket.create_connection(
            ("127.0.0.1", int(server.address.rsplit(":", 1)[1])), PATIENCE_S)
        client.sendall(request or self.REQUEST)
        return client

    REQUEST = (b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")

    def rest(self, client):
        data = b""
        while True:
            piece = client.recv(65536)
            if not piece:
                client.close()
                return data
            data += piece

    def test_clients_of_websockets(self):
        for engine in engines():
            with self.subTest(engine=engine), self.serving("-e", engine) as server:
                self.assertTrue(server.address.startswith("ws://"))
                self.assertEqual(asyncio.run(talk(server.address)), [])
                done = server.stop()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("closes answered", done.stdout)
            with self.subTest(engine=engine), self.serving("-e", engine, "--agree-deflate") as server:
                self.assertEqual(asyncio.run(talk(server.address)), ["permessage-deflate"])
                self.assertEqual(asyncio.run(talk(server.address, compression=None)), [])

    def test_many_clients_and_threads(self):
        async def all_of(address):
            await asyncio.gather(*(talk(address) for _ in range(20)))
        with self.serving("-t", "2", "--json") as server:
            asyncio.run(all_of(server.address))
            one = checked_record(self, server.stop().stdout)["runs"][0]
            self.assertEqual(metric(one, "server_upgraded"), 20)
            self.assertEqual(metric(one, "server_messages"), 120)
            self.assertEqual(metric(one, "server_pings"), 20)
            self.assertEqual(metric(one, "server_closed"), 20)
            self.assertEqual(one["errors"], [])

    def test_requests_that_are_refused(self):
        cases = ((b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426", "no upgrade to websocket"),
                 (self.REQUEST.replace(b"Version: 13", b"Version: 8"), b"426",
                  "another Sec-WebSocket-Version than 13"),
                 (self.REQUEST.replace(b"Host: a\r\n", b""), b"400", "no Host, or one that is none"),
                 (self.REQUEST.replace(b"dGhl", b"dG="), b"400",
                  "no Sec-WebSocket-Key of 16 bytes in base64"),
                 (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400", None),
                 (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", b"431",
                  "a head longer than is allowed"))
        for request, status, name in cases:
            with self.subTest(name=name), self.serving("--json") as server:
                answer = self.rest(self.connect(server, request))
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
                if status == b"426":
                    self.assertIn(b"Sec-WebSocket-Version: 13\r\n", answer)
                one = checked_record(self, server.stop().stdout)["runs"][0]
                self.assertEqual(metric(one, "server_requests_refused"), 1)
                if name:
                    self.assertEqual([(e["phase"].split()[-1], e["name"]) for e in one["errors"]],
                                     [("upgrade", name)])

    def test_clients_that_break_the_protocol(self):
        cases = ((b"\x81\x01x", 1002), (frame(1, b"\xff"), 1007), (frame(3, b""), 1002),
                 (frame(8, b"\x03\xed"), 1002), (frame(9, b"x", head=0), 1002),
                 (b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4), 1009),
                 (frame(2, b"x" * 100, head=0) + frame(0, b"x" * 100), 1009))
        with self.serving("--max-message", "150", "--max-frame", "150", "--json") as server:
            for data, code in cases:
                with self.subTest(data=data):
                    client = self.connect(server)
                    client.sendall(data)
                    answer = self.rest(client)
                    self.assertEqual(answer.split(b"\r\n\r\n", 1)[1],
                                     b"\x88\x02" + struct.pack(">H", code))
            asyncio.run(self.still_serves(server.address))
            one = checked_record(self, server.stop().stdout)["runs"][0]
            self.assertEqual(sum(error["count"] for error in one["errors"]), len(cases))

    async def still_serves(self, address):
        async with websockets.connect(address) as connection:
            await connection.send("x")
            self.assertEqual(await connection.recv(), "x")

    def test_bytes_one_by_one(self):
        with self.serving() as server:
            client = self.connect(server, self.REQUEST[:1])
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = self.REQUEST[1:] + frame(1, b"hi", mask=b"\x01\x02\x03\x04") + frame(9, b"p") \
                + frame(8, b"\x03\xe8")
            for byte in data:
                client.sendall(bytes([byte]))
            self.assertEqual(self.rest(client).split(b"\r\n\r\n", 1)[1],
                             b"\x81\x02ik\x8a\x01p\x88\x02\x03\xe8")

    def test_the_end_of_serving(self):
        with self.serving() as server:
            client = self.connect(server)
            client.recv(65536)
            server.process.terminate()
            self.assertEqual(client.recv(65536), b"\x88\x02\x03\xe9")  # 1001: going away
            client.close()
            self.assertEqual(server.stop().returncode, 0)

    def test_idle_connections_are_closed(self):
        with self.serving("--idle-timeout", "200ms", "--json") as server:
            self.rest(self.connect(server))
            self.rest(self.connect(server, self.REQUEST[:30]))
            one = checked_record(self, server.stop().stdout)["runs"][0]
            self.assertEqual(metric(one, "server_idle_closed"), 2)

    def test_a_client_that_does_not_read(self):
        """The others are served meanwhile, and it is sent everything in the end."""
        for engine in engines():
            with self.subTest(engine=engine), self.serving("-e", engine) as server:
                client = self.connect(server)
                client.recv(65536)
                payload = os.urandom(60000)
                header = b"\x82\xfe" + struct.pack(">H", len(payload)) + bytes(4)
                writer = threading.Thread(
                    target=lambda: client.sendall((header + payload) * 100))
                writer.start()
                asyncio.run(self.still_serves(server.address))
                data = b""
                expected = (b"\x82\x7e" + struct.pack(">H", len(payload)) + payload) * 100
                while len(data) < len(expected):
                    piece = client.recv(1 << 20)
                    self.assertTrue(piece)
                    data += piece
                self.assertEqual(data, expected)
                writer.join()
                client.close()

    def test_autobahn(self):
        """A client of python3-autobahn."""
        from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
        got = []

        class Client(WebSocketClientProtocol):
            def onOpen(self):
                self.sendMessage("ä€".encode())
                self.sendMessage(b"\x00" * 70000, isBinary=True)

            def onMessage(self, payload, isBinary):
                got.append((payload, isBinary))
                if len(got) == 2:
                    self.sendClose(4000, "done")

            def onClose(self, wasClean, code, reason):
                got.append((wasClean, code))
                self.factory.over.set()

        async def main(address):
            factory = WebSocketClientFactory(address)
            factory.protocol = Client
            factory.over = asyncio.Event()
            port = int(address.rsplit(":", 1)[1])
            await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)
            await asyncio.wait_for(factory.over.wait(), PATIENCE_S)

        with self.serving() as server:
            asyncio.run(main(server.address))
        self.assertEqual(got, [("ä€".encode(), False), (b"\x00" * 70000, True), (True, 4000)])


if __name__ == "__main__":
    unittest.main()
