"""`sonde ws` against servers that break the protocol on some connections: each fault by its own name in
the phase where it is, counted exactly, and the other connections as if there were none."""

import collections
import itertools
import json
import os
import socket
import struct
import threading
import time
import unittest
import zlib
from tempfile import TemporaryDirectory

from sonde_program import SONDE, Misbehaving, check_one_line, engines, metric, run
from websocket_raw import (BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT,
                           Mixed, Wire, accept_of, answer_101, close_of, errors, frame, reset, url, ws)

QUICK = ("--timeout", "400ms", "--connect-timeout", "400ms")
NO_FIN = 0


def answers(data):
    """Says this instead of 101, and waits for the client to leave."""
    def fault(_, wire):
        wire.head()
        wire.send(data)
        wire.rest()
    return fault


def upgrades(extra=b"", accept=None, text=None):
    """Answers 101 with something about it."""
    def fault(_, wire):
        key = wire.key()
        wire.send(text(key) if text else answer_101(key, extra, accept))
        wire.rest()
    return fault


def instead(old, new):
    return upgrades(text=lambda key: answer_101(key).replace(old, new, 1))


def silent(server, _):
    server.over.wait()


def silent_behind(data):
    def fault(server, wire):
        wire.key()
        wire.send(data)
        server.over.wait()
    return fault


def drips_too_slowly(server, wire):
    answer = answer_101(wire.key())
    for i in range(len(answer)):
        wire.send(answer[i:i + 1])
        if server.over.wait(0.02):
            break


def resets(when):
    def fault(_, wire):
        when(wire)
        reset(wire.client)
    return fault


def ends(when):
    return lambda _, wire: when(wire)


def half_answer(wire):
    key = wire.key()
    wire.send(answer_101(key)[:50])
    time.sleep(0.02)


def interim_for_ever(_, wire):
    wire.head()
    while True:
        wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")


def head_for_ever(data):
    def fault(_, wire):
        wire.head()
        wire.send(b"HTTP/1.1 101 Yes\r\n")
        for _ in range((1 << 20) // len(data)):
            wire.send(data)
        wire.rest()
    return fault


STATUS = "answered with status "
UPGRADES = (  # what a server answers, and how the report calls it
    ("200", answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), STATUS + "200"),
    ("301", answers(b"HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\r\n\r\n"),
     STATUS + "301 to ws://elsewhere/"),
    ("307 without a location", answers(b"HTTP/1.1 307 T\r\n\r\n"), STATUS + "307"),
    ("401", answers(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"),
     STATUS + "401"),
    ("403 of HTTP/1.0", answers(b"HTTP/1.0 403 Forbidden\r\n\r\n"), STATUS + "403"),
    ("426", answers(b"HTTP/1.1 426 U\r\nSec-WebSocket-Version: 8\r\n\r\n"), STATUS + "426"),
    ("503", answers(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n"), STATUS + "503"),
    ("a wrong accept", upgrades(accept=accept_of(b"another")),
     "a Sec-WebSocket-Accept that does not follow from the key"),
    ("the key as accept", upgrades(text=lambda key: answer_101(key, accept=key)),
     "a Sec-WebSocket-Accept that does not follow from the key"),
    ("an accept in capitals", upgrades(text=lambda key: answer_101(
        key, accept=accept_of(key).swapcase())),
     "a Sec-WebSocket-Accept that does not follow from the key"),
    ("an empty accept", upgrades(text=lambda key: answer_101(key).replace(accept_of(key), b"")),
     "a Sec-WebSocket-Accept that does not follow from the key"),
    ("no accept", instead(b"Sec-WebSocket-Accept", b"X-Accept"), "no Sec-WebSocket-Accept"),
    ("two accepts", upgrades(text=lambda key: answer_101(
        key, b"Sec-WebSocket-Accept: " + accept_of(key) + b"\r\n")),
     "twice what may be said once"),
    ("no Upgrade", instead(b"Upgrade: websocket\r\n", b""), "no upgrade to websocket"),
    ("another Upgrade", instead(b"Upgrade: websocket", b"Upgrade: h2c"), "no upgrade to websocket"),
    ("no Connection", instead(b"Connection: Upgrade\r\n", b""),
     "a Connection that does not say Upgrade"),
    ("another Connection", instead(b"Connection: Upgrade", b"Connection: keep-alive"),
     "a Connection that does not say Upgrade"),
    ("101 of HTTP/1.0", instead(b"HTTP/1.1", b"HTTP/1.0"), "another version of HTTP than 1.1"),
    ("HTTP/2", instead(b"HTTP/1.1", b"HTTP/2.0"), "another version of HTTP than 1.1"),
    ("an extension", upgrades(b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
     "an extension that was not offered"),
    ("an unknown extension", upgrades(b"Sec-WebSocket-Extensions: x-of-ours\r\n"),
     "an extension that was not offered"),
    ("extensions without sense", upgrades(b"Sec-WebSocket-Extensions: ;;=\r\n"),
     "extensions that cannot be read"),
    ("a subprotocol", upgrades(b"Sec-WebSocket-Protocol: chat\r\n"),
     "a subprotocol that was not offered"),
    ("a body", upgrades(b"Content-Length: 5\r\n"), "a handshake with a body"),
    ("no HTTP", answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "a first line that is no HTTP status"),
    ("a status in words", answers(b"HTTP/1.1 OK fine\r\n\r\n"),
     "a first line that is no HTTP status"),
    ("a record of TLS", answers(b"\x15\x03\x01\x00\x02\x02\x46"),
     "a first line that is no HTTP status"),
    ("a zero byte", upgrades(b"X-Zero: a\0b\r\n"), "a control character in the head"),
    ("a folded line", upgrades(b"X-Fold: a\r\n b\r\n"),
     "a header line that continues the one before"),
    ("a bare LF", upgrades(b"X-Bare: a\n"), "a line that does not end with CR LF"),
    ("a bare CR", upgrades(b"X-Bare: a\rb\r\n"), "a line that does not end with CR LF"),
    ("a line without a colon", upgrades(b"nothing\r\n"),
     "a header line without a name that is a token before its colon"),
    ("a space before the colon", upgrades(b"X-Space : a\r\n"),
     "a header line without a name that is a token before its colon"),
    ("1 MiB of one header", head_for_ever(b"X-Long: " + b"x" * 65528), "a head longer than is allowed"),
    ("1 MiB without a line's end", head_for_ever(b"x" * 65536), "a head longer than is allowed"),
    ("101 header lines", upgrades(b"X-Line: 1\r\n" * 101), "more header lines than are allowed"),
    ("interim answers for ever", interim_for_ever, "a head longer than is allowed"),
    ("silence", silent, "no answer within --timeout"),
    ("silence behind half a head", silent_behind(b"HTTP/1.1 101 Switch"),
     "no answer within --timeout"),
    ("a drip that is too slow", drips_too_slowly, "no answer within --timeout"),
    ("an end without an answer", ends(lambda wire: wire.head()),
     "the server closed the connection"),
    ("an end behind half a head", ends(half_answer), "the server closed the connection"),
    ("a reset without an answer", resets(lambda wire: wire.head()), "ECONNRESET"),
    ("a reset behind half a head", resets(half_answer), "ECONNRESET"),
)


def hears_close(*data):
    """Hears the client's close frame, sends this, and waits for it to leave."""
    def fault(_, wire):
        wire.upgrade()
        wire.frame()
        wire.send(*data)
        wire.rest()
    return fault


def pings_for_ever(_, wire):
    wire.upgrade()
    while True:
        wire.send(frame(PING, b"x" * 125) * 500)


def silent_when_open(server, wire):
    wire.upgrade()
    server.over.wait()


def silent_in_half_a_close(server, wire):
    wire.upgrade()
    wire.frame()
    wire.send(b"\x88")
    server.over.wait()


def open_then(act):
    def fault(_, wire):
        wire.upgrade()
        wire.frame()
        act(wire)
    return fault


CODE = "a close code that may not be sent"
CLOSES = (
    *(("code %d" % code, hears_close(frame(CLOSE, close_of(code))), CODE)
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    ("a close of one byte", hears_close(frame(CLOSE, b"\x03")), "a close frame of one byte"),
    ("a reason that is no text", hears_close(frame(CLOSE, close_of(1000, b"\xc3"))),
     "a reason of the close that is not UTF-8"),
    ("a close with a mask", hears_close(frame(CLOSE, close_of(1000), mask=bytes(4))),
     "a server's frame with a mask"),
    ("a close in fragments", hears_close(frame(CLOSE, close_of(1000), head=NO_FIN)),
     "a control frame in fragments"),
    ("a close of 126 bytes", hears_close(frame(CLOSE, close_of(1000) + b"x" * 124)),
     "a control frame of more than 125 bytes"),
    ("reserved bits", hears_close(frame(CLOSE, close_of(1000), head=FIN | RSV2)),
     "a frame with reserved bits"),
    ("2^63 bytes", hears_close(frame(BINARY, length=1 << 63)), "a length of 2^63 or more"),
    ("a message without end", hears_close(frame(BINARY, b"x" * 65536, head=NO_FIN),
                                          frame(CONTINUATION, b"x" * 65535, head=NO_FIN) * 3),
     "a message longer than is allowed"),
    ("pings for ever", pings_for_ever, "no answer within --timeout"),
    ("silence", silent_when_open, "no answer within --timeout"),
    ("silence in half a close", silent_in_half_a_close, "no answer within --timeout"),
    ("a reset", open_then(lambda wire: reset(wire.client)), "ECONNRESET"),
    ("an end", open_then(lambda wire: None), "the connection ended without a close frame"),
    ("an end in half a close", open_then(lambda wire: wire.send(b"\x88\x02\x03")),
     "the connection ended without a close frame"),
)


def behind_101(data):
    """In the same segment as the answer."""
    def fault(_, wire):
        wire.send(answer_101(wire.key()) + data)
        wire.rest()
    return fault


# Before the client's close frame was sent: bytes in the same segment as the answer 101.
EARLY = (
    ("a close", behind_101(frame(CLOSE, close_of(1001))), "the server closed with code 1001"),
    ("a close without a code", behind_101(frame(CLOSE)), "the server closed with code 1005"),
    ("a close in 1011", behind_101(frame(CLOSE, close_of(1011, b"oops"))),
     "the server closed with code 1011"),
    ("no frame", behind_101(b"HTTP/1.1 200 OK\r\n\r\n"), "a frame with reserved bits"),
    ("a masked frame", behind_101(frame(PING, mask=bytes(4))), "a server's frame with a mask"),
)


def good_in_single_bytes(_, wire):
    wire.drip(b"HTTP/1.1 100 Continue\r\n\r\n" + answer_101(wire.key(), b"X-Empty:\r\nX-High: \xe4\r\n"))
    opcode, payload = wire.frame()[1:]
    wire.drip(frame(PING, b"ping") + frame(PONG) + frame(TEXT, "ä".encode()[:1], head=NO_FIN)
              + frame(PING) + frame(CONTINUATION, "ä".encode()[1:]) + frame(opcode, payload))


def good_with_frames_behind(_, wire):
    wire.send(answer_101(wire.key()) + frame(PING, b"early") + frame(TEXT, b"hello"))
    opcodes = []
    while CLOSE not in opcodes:
        opcodes.append(wire.frame()[1])
    wire.send(frame(CLOSE, close_of(1000, "gut".encode())))


def good_with_data_behind_close(_, wire):
    wire.upgrade()
    payload = wire.frame()[2]
    wire.send(frame(CLOSE, payload) + frame(TEXT, b"late") + b"\xff\xff\xff")


def good_without_a_code(_, wire):
    wire.upgrade()
    wire.frame()
    wire.send(frame(CLOSE))


GOOD = (good_in_single_bytes, good_with_frames_behind, good_with_data_behind_close,
        good_without_a_code)


class Handshakes(unittest.TestCase):
    def all_of(self, cases, phase, engine):
        """Each third connection is a bad one: each by name, and all others good."""
        expected = collections.Counter((phase, name) for _, _, name in cases)
        with Mixed([fault for _, fault, _ in cases], 3) as server:
            count = 3 * len(cases)
            one = ws(self, url(server), "-n", str(count), "-c", "12", "-e", engine, *QUICK)
            bad, good = len(cases), count - len(cases)
            self.assertEqual((server.bad, server.good), (bad, good))
        self.assertEqual(errors(one), expected)
        self.assertEqual(metric(one, "handshakes"), good)
        self.assertEqual(metric(one, "handshakes_failed"), bad)
        self.assertEqual(metric(one, "connections_dialed"), count)
        for name in ("response_time", "close"):
            self.assertEqual(one["histograms"][name]["count"], good, name)
        upgraded = good if phase == "upgrade" else count
        self.assertEqual(metric(one, "upgrades"), upgraded)
        self.assertEqual(one["histograms"]["upgrade"]["count"], upgraded)

    def test_upgrades(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(UPGRADES, "upgrade", engine)

    def test_closes(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(CLOSES, "close", engine)

    def test_frames_in_the_segment_of_the_answer(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(EARLY, "protocol", engine)

    def test_ends_before_the_request_was_read(self):
        """The kernel says what came first."""
        names = {("upgrade", "the server closed the connection"), ("upgrade", "ECONNRESET"),
                 ("upgrade", "EPIPE"), ("connect", "ECONNRESET")}
        for fault in (lambda server, wire: None, resets(lambda wire: None)):
            for engine in engines():
                with self.subTest(engine=engine), Mixed([fault], 3) as server:
                    one = ws(self, url(server), "-n", "30", "-c", "3", "-e", engine)
                    self.assertLessEqual(set(errors(one)), names)
                    self.assertEqual(sum(errors(one).values()), 10)
                    self.assertEqual(metric(one, "handshakes"), 20)
                    self.assertEqual(metric(one, "handshakes_failed"), 10)

    def test_what_is_unusual_and_right(self):
        for good in GOOD:
            for engine in engines():
                with self.subTest(good=good.__name__, engine=engine), Mixed([good], 2) as server:
                    one = ws(self, url(server), "-n", "10", "-c", "2", "-e", engine)
                    self.assertEqual(metric(one, "handshakes"), 10)
                    self.assertEqual(one["errors"], [])

    def test_parameters_that_were_not_offered(self):
        """Of permessage-deflate, which was."""
        for said, name in (
                (b"permessage-deflate; server_max_window_bits=7", "a parameter of permessage-deflate"),
                (b"permessage-deflate; server_max_window_bits", "a parameter of permessage-deflate"),
                (b"permessage-deflate; mine=1", "a parameter of permessage-deflate"),
                (b"permessage-deflate; client_max_window_bits=16", "a parameter of"),
                (b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                 "a parameter of permessage-deflate"),
                (b"permessage-deflate, permessage-deflate", "twice what may be said once"),
                (b"x-webkit-deflate-frame", "an extension that was not offered"),
                (None, "permessage-deflate was not agreed to")):
            extra = b"Sec-WebSocket-Extensions: " + said + b"\r\n" if said else b""
            with self.subTest(said=said), Misbehaving(
                    lambda _, client, extra=extra: self.upgrade_only(client, extra)) as server:
                one = ws(self, url(server), "-n", "3", "-c", "1", "--deflate", *QUICK, status=1)
                (phase, found), count = next(iter(errors(one).items()))
                self.assertEqual((phase, count, len(one["errors"])), ("upgrade", 3, 1))
                self.assertIn(name, found)

    def upgrade_only(self, client, extra):
        wire = Wire(client)
        wire.upgrade(extra=extra)
        wire.rest()

    def test_the_text_names_them_too(self):
        with Mixed([answers(b"HTTP/1.1 401 No\r\n\r\n")], 3) as server:
            done = run("ws", url(server), "-n", "9", "-c", "1")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r"upgrade.*answered with status 401.*\b3\b|"
                                          r"\b3\b.*upgrade.*answered with status 401")

    def test_an_error_has_one_row_for_observed_parts_and_others(self):
        def resets(_, client):
            client.recv(65536)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with Misbehaving(resets) as server, TemporaryDirectory() as folder:
            path = os.path.join(folder, "metrics")
            done = run("ws", server.address.replace("tcp:", "ws:"), "--mode", "handshake", "-c", "2",
                       "-d", "1s", "-w", "0", "--observe=self", "--json",
                       "--openmetrics=" + path)
            run_ = json.loads(done.stdout)["runs"][0]
            with open(path, encoding="utf-8") as file:
                samples = [line for line in file if line.startswith("sonde_errors_total")]
        (row,) = run_["errors"]
        self.assertEqual((row["phase"], row["name"]), ("upgrade", "ECONNRESET"))
        self.assertEqual([int(line.split()[-1]) for line in samples], [row["count"]])
        self.assertGreaterEqual(row["count"], metric(run_, "handshakes_failed"))

    def test_nobody_accepts(self):
        """The connect phase: a full backlog, which drops what comes."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            fill = socket.create_connection(listener.getsockname())  # the one that has room
            for engine in engines():
                with self.subTest(engine=engine):
                    done = run("ws", "ws://127.0.0.1:%d" % listener.getsockname()[1], "-n", "2",
                               "-c", "2", "-e", engine, *QUICK)
                    self.assertIn("connect", check_one_line(self, done, 1))
            fill.close()


    def test_nobody_accepts_for_a_while(self):
        """Connections that are not established in time are counted, and the run goes on."""
        for engine in engines():
            if engine == "threads":
                continue  # each of whose threads judges by its own connection who is there
            with self.subTest(engine=engine), Pausing(5) as server:
                one = ws(self, url(server), "-n", "40", "-c", "6", "-e", engine,
                         "--connect-timeout", "200ms", "--timeout", "20s")
                found = errors(one)
                self.assertEqual(set(found), {("connect", "ETIMEDOUT")})
                failed = found["connect", "ETIMEDOUT"]
                self.assertEqual(metric(one, "handshakes_failed"), failed)
                self.assertEqual(metric(one, "handshakes"), 40 - failed)
                self.assertGreaterEqual(40 - failed, 5)
                self.assertGreater(metric(one, "listen_overflows"), 0)


class Pausing(Mixed):
    """In order, but that it accepts nothing for a while after the first so many."""

    def __init__(self, first):
        self.first = first
        super().__init__([None], 1 << 30, backlog=0)
        self.bad = 1  # none is to be a bad one

    def accept(self):
        for i in itertools.count():
            if i == self.first:
                self.over.wait(1)
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()


def answered(data, extra):
    """Hears a first message, sends this, and waits for the client to leave."""
    def fault(_, wire):
        wire.upgrade(extra=extra)
        wire.frame()
        wire.send(data)
        wire.rest()
    return fault


def dripped(data, extra):
    """The same byte by byte."""
    def fault(_, wire):
        wire.upgrade(extra=extra)
        wire.frame()
        wire.drip(data)
        wire.rest()
    return fault


def deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


EURO = "€".encode()
ANSWER = frame(BINARY, bytes(range(64)))  # to the first message
FRAMES = (  # what a server sends for a message of 64 bytes
    ("a mask", frame(BINARY, b"x" * 64, mask=bytes(4)), "a server's frame with a mask"),
    ("RSV1 without deflate", frame(BINARY, b"x" * 64, head=FIN | RSV1),
     "a frame with reserved bits"),
    ("RSV2", frame(BINARY, head=FIN | RSV2), "a frame with reserved bits"),
    ("RSV3", frame(PONG, head=FIN | RSV3), "a frame with reserved bits"),
    *(("opcode %d" % opcode, frame(opcode), "a frame with a reserved opcode")
      for opcode in (3, 7, 11, 15)),
    ("2^63", frame(BINARY, length=1 << 63), "a length of 2^63 or more"),
    ("2^64 - 1", frame(BINARY, length=(1 << 64) - 1), "a length of 2^63 or more"),
    ("2^63 - 1", frame(BINARY, length=(1 << 63) - 1), "a frame longer than is allowed"),
    ("a length in too many bytes", b"\x82\x7e\x00\x40" + bytes(64),
     "a length in more bytes than it needs"),
    ("a ping of 126 bytes", frame(PING, b"x" * 126), "a control frame of more than 125 bytes"),
    ("a pong of 2^20 bytes", frame(PONG, length=1 << 20),
     "a control frame of more than 125 bytes"),
    ("a ping in fragments", frame(PING, head=NO_FIN), "a control frame in fragments"),
    ("a continuation", frame(CONTINUATION, b"x"), "a continuation of no message"),
    ("a continuation behind a message", ANSWER + frame(CONTINUATION),
     "a continuation of no message"),
    ("a message inside another", frame(BINARY, b"\0", head=NO_FIN) + frame(BINARY, b"\1"),
     "a message that begins before another has ended"),
    ("a close with 1005", frame(CLOSE, close_of(1005)), CODE),
    ("a close with 999", frame(CLOSE, close_of(999)), CODE),
    ("a close of one byte", frame(CLOSE, b"x"), "a close frame of one byte"),
    ("a close", frame(CLOSE, close_of(1000)), "the server closed with code 1000"),
    ("a close with 4999", frame(CLOSE, close_of(4999, b"why")), "the server closed with code 4999"),
    ("another answer", frame(BINARY, b"\xff" * 64), "the answer is not what was sent"),
    ("a short answer", frame(BINARY, bytes(range(63))),
     "an answer of another length than its message"),
    ("a text for a binary", frame(TEXT, b"x" * 64), "an answer of another kind than its message"),
)
ANSWERED = ("a continuation behind a message",)  # perhaps nothing is in flight then
TEXTS = (
    ("bad text", frame(TEXT, b"!\xff"), "text that is not UTF-8"),
    ("bad text across fragments", frame(TEXT, EURO[:2], head=NO_FIN) + frame(CONTINUATION, b"x"),
     "text that is not UTF-8"),
    ("a surrogate across fragments", frame(TEXT, b"\xed", head=NO_FIN)
     + frame(CONTINUATION, b"\xa0\x80"), "text that is not UTF-8"),
    ("half a character at the end", frame(TEXT, EURO[:1], head=NO_FIN)
     + frame(CONTINUATION, EURO[1:2]), "text that ends inside a character"),
)
DEFLATES = (
    ("no deflate data", frame(BINARY, b"\xff" * 20, head=FIN | RSV1),
     "a compressed message that cannot be inflated"),
    ("half a block", frame(BINARY, deflated(bytes(range(64)))[:9], head=FIN | RSV1),
     "a compressed message that ends inside a block"),
    ("a bomb", frame(BINARY, deflated(bytes(10 << 20)), head=FIN | RSV1),
     "an answer of another length than its message"),
    ("RSV1 on a continuation", frame(BINARY, b"", head=NO_FIN | RSV1)
     + frame(CONTINUATION, head=FIN | RSV1), "a frame with reserved bits"),
    ("RSV1 on a ping", frame(PING, head=FIN | RSV1), "a frame with reserved bits"),
)


class Messages(unittest.TestCase):
    """Each third connection is bad; the others go on as long as the run does."""

    def all_of(self, cases, engine, *arguments, act=None, extra=b"", phase="protocol"):
        act = act or answered
        expected = collections.Counter((phase, name) for _, _, name in cases)
        faults = [act(data, extra) for _, data, _ in cases]
        with Mixed(faults, 3, extra) as server:
            count = 3 * len(cases)
            one = ws(self, url(server), "--mode", "message", "-d", "400ms", "-w", "0", "-c",
                     str(count), "-e", engine, "--high", "1", *QUICK, *arguments, status=1)
            self.assertEqual((server.bad, server.good), (len(cases), count - len(cases)))
        self.assertEqual(errors(one), expected)
        self.assertEqual(metric(one, "closes"), count - len(cases))
        self.assertGreater(metric(one, "round_trips"), count)
        # Of those in flight at the window's end the answers come behind it.
        behind = one["metrics"].get("finished_after", {"value": 0})["value"]
        self.assertEqual(metric(one, "unfinished"), 0)
        lost = metric(one, "messages_lost")
        answered_first = sum(what in ANSWERED for what, _, _ in cases)
        self.assertIn(len(cases) - lost, range(answered_first + 1))
        # A worker may begin one more before it hears that the window is over.
        self.assertIn(metric(one, "round_trips") + lost + behind - metric(one, "messages_sent"),
                      range(count + 1))

    def test_frames(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(FRAMES, engine)

    def test_frames_in_single_bytes(self):
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(FRAMES, engine, act=dripped)

    def test_text(self):
        for engine in engines():
            for act in (answered, dripped):
                with self.subTest(engine=engine, act=act.__name__):
                    self.all_of(TEXTS, engine, "--message", "text", act=act)

    def test_deflate(self):
        agreed = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        for engine in engines():
            for act in (answered, dripped):
                with self.subTest(engine=engine, act=act.__name__):
                    self.all_of(DEFLATES, engine, "--deflate", act=act, extra=agreed)

    def test_ends(self):
        no_close = "the connection ended without a close frame"
        cases = (("an end", lambda wire: None, no_close),
                 ("an end in a header", lambda wire: wire.send(b"\x82"), no_close),
                 ("an end in a frame", lambda wire: wire.send(b"\x82\x40abc"), no_close),
                 ("a reset", lambda wire: reset(wire.client), "ECONNRESET"))
        for engine in engines():
            with self.subTest(engine=engine):
                self.all_of(cases, engine, act=lambda act, _: open_then(act), phase="receive")

    def test_an_answer_too_many(self):
        """It is the answer to no message, or to the next one."""
        twice = answered(ANSWER + frame(BINARY, bytes(64)), b"")
        with Mixed([twice], 3) as server:
            one = ws(self, url(server), "--mode", "message", "-d", "200ms", "-w", "0", "-c", "3",
                     status=1)
        self.assertLessEqual(set(errors(one)), {("protocol", "an answer to no message"),
                                                ("protocol", "the answer is not what was sent")})
        self.assertEqual(sum(errors(one).values()), 1)

    def test_silence(self):
        """A message that is never answered is unfinished when the drain is over."""
        def fault(server, wire):
            wire.upgrade()
            server.over.wait()
        for engine in engines():
            with self.subTest(engine=engine), Mixed([fault], 3) as server:
                done = run("ws", url(server), "--mode", "message", "-d", "200ms", "-w", "0", "-c",
                           "3", "--drain", "200ms", "-e", engine)
                self.assertIn("1 message", check_one_line(self, done, 1))

    def test_silence_for_longer_than_the_timeout(self):
        """A counted run has no other end."""
        def fault(server, wire):
            wire.upgrade()
            server.over.wait()
        for engine in engines():
            with self.subTest(engine=engine), Mixed([fault], 3) as server:
                done = run("ws", url(server), "--mode", "message", "-n", "90", "-c", "3",
                           "--timeout", "400ms", "-e", engine, "-q", "--json")
                self.assertEqual(done.returncode, 1)
                one = json.loads(done.stdout)["runs"][0]
                self.assertEqual([(row["phase"], row["name"], row["count"])
                                  for row in one["errors"]],
                                 [("receive", "no answer within --timeout", 1)])
                self.assertEqual(metric(one, "round_trips"), 60)

    def test_pings_for_ever(self):
        """They are answered in little memory, and the other connections are served meanwhile."""
        for engine in engines():
            with self.subTest(engine=engine), Mixed([pings_for_ever], 3) as server:
                done = run("ws", url(server), "--mode", "message", "-d", "400ms", "-w", "0", "-c",
                           "3", "--drain", "100ms", "-e", engine, "-q", "--json")
                self.assertEqual(done.returncode, 1)
                one = json.loads(done.stdout)["runs"][0]
                self.assertGreater(metric(one, "round_trips"), 20)
                self.assertGreater(metric(one, "pings_of_server"), 1000)
                self.assertEqual(metric(one, "closes"), 2)
                if "build-test" not in SONDE:  # where the sanitizer holds memory of its own
                    self.assertLess(one["processes"][0]["rss_bytes"], 64 << 20)


if __name__ == "__main__":
    unittest.main()
