"""The cases of RFC 6455 and 7692, numbered as the Autobahn test suite numbers its own, through sockets
against `sonde serve ws://`: each byte by byte, frame by frame, and all at once."""

import os
import struct
import unittest
import zlib

from sonde_program import Serving, checked_record, engines, metric
from websocket_raw import (BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT,
                           Wire, close_of, masked, request)

NO_FIN = 0
CLEAN = 1000
NO_CODE = 1005
HELLO = (TEXT, b"Hello, world!")
BYTES = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
KOSME = "κόσμε".encode()
WORDS = ("Hello-µ@ßöä".encode(), "üàá-UTF-8!!".encode())
ONE, TWO = b"fragment1", b"fragment2"
BOTH = (TEXT, ONE + TWO)
DIGITS = [b"%d" % i for i in range(10)]


def text(payload, **how):
    return masked(TEXT, payload, **how)


def fragments(opcode, *pieces, between=()):
    """A message in so many frames, with other frames behind each of them but the last."""
    wire = []
    for i, piece in enumerate(pieces):
        wire.append(masked(opcode if i == 0 else CONTINUATION, piece,
                           head=FIN if i + 1 == len(pieces) else NO_FIN))
        wire += between if i + 1 < len(pieces) else ()
    return wire


hello, ping = text(HELLO[1]), masked(PING)

# number, what is sent, what is answered before the close, and the close's code
CASES = [
    ("2.1", [ping], [(PONG, b"")], CLEAN),
    ("2.2", [masked(PING, HELLO[1])], [(PONG, HELLO[1])], CLEAN),
    ("2.3", [masked(PING, BYTES)], [(PONG, BYTES)], CLEAN),
    ("2.4", [masked(PING, b"\xfe" * 125)], [(PONG, b"\xfe" * 125)], CLEAN),
    ("2.5", [masked(PING, b"\xfe" * 126)], [], 1002),
    ("2.7", [masked(PONG)], [], CLEAN),
    ("2.8", [masked(PONG, b"unasked")], [], CLEAN),
    ("2.9", [masked(PONG, b"unasked"), masked(PING, b"asked")], [(PONG, b"asked")], CLEAN),
    ("2.10", [masked(PING, digit) for digit in DIGITS], [(PONG, digit) for digit in DIGITS], CLEAN),
    ("3.1", [text(HELLO[1], head=FIN | RSV1)], [], 1002),
    ("3.2", [hello, text(HELLO[1], head=FIN | RSV2), ping], [HELLO], 1002),
    ("3.3", [hello, text(HELLO[1], head=FIN | RSV2 | RSV3), ping], [HELLO], 1002),
    ("3.4", [hello, text(HELLO[1], head=FIN | RSV1), ping], [HELLO], 1002),
    ("3.5", [masked(BINARY, BYTES, head=FIN | RSV1 | RSV3)], [], 1002),
    ("3.6", [masked(PING, b"x", head=FIN | RSV1 | RSV2)], [], 1002),
    ("3.7", [masked(CLOSE, head=FIN | RSV1 | RSV2 | RSV3)], [], 1002),
    *(("4.1.%d" % i, [hello, masked(opcode, b"x" * i), ping], [HELLO], 1002)
      for i, opcode in enumerate((3, 4, 5, 6, 7))),
    *(("4.2.%d" % i, [hello, masked(opcode, b"x" * i), ping], [HELLO], 1002)
      for i, opcode in enumerate((11, 12, 13, 14, 15))),
    ("5.1", [masked(PING, ONE, head=NO_FIN), masked(CONTINUATION, TWO)], [], 1002),
    ("5.2", [masked(PONG, ONE, head=NO_FIN), masked(CONTINUATION, TWO)], [], 1002),
    ("5.3", fragments(TEXT, ONE, TWO), [BOTH], CLEAN),
    ("5.6", fragments(TEXT, ONE, TWO, between=[masked(PING, b"p")]), [(PONG, b"p"), BOTH], CLEAN),
    ("5.9", [masked(CONTINUATION, b"to nothing"), hello], [], 1002),
    ("5.12", [masked(CONTINUATION, b"to nothing", head=NO_FIN), hello], [], 1002),
    ("5.15", fragments(TEXT, ONE, TWO) + [masked(CONTINUATION, ONE, head=NO_FIN), text(TWO)],
     [BOTH], 1002),
    ("5.18", [text(ONE, head=NO_FIN), text(TWO)], [], 1002),
    ("5.19", fragments(TEXT, *DIGITS, between=[masked(PING, b"p")]),
     [(PONG, b"p")] * 9 + [(TEXT, b"".join(DIGITS))], CLEAN),
    ("6.1.1", [text(b"")], [(TEXT, b"")], CLEAN),
    ("6.1.2", fragments(TEXT, b"", b"", b""), [(TEXT, b"")], CLEAN),
    ("6.1.3", fragments(TEXT, b"", b"x", b""), [(TEXT, b"x")], CLEAN),
    ("6.2.1", [text(b"".join(WORDS))], [(TEXT, b"".join(WORDS))], CLEAN),
    ("6.2.2", fragments(TEXT, *WORDS), [(TEXT, b"".join(WORDS))], CLEAN),
    ("6.2.3", fragments(TEXT, *(bytes([byte]) for byte in KOSME)), [(TEXT, KOSME)], CLEAN),
    ("6.3.1", [text(KOSME + b"\xed\xa0\x80edited")], [], 1007),
    ("6.3.2", fragments(TEXT, *(bytes([byte]) for byte in KOSME + b"\xed\xa0\x80edited")), [], 1007),
    ("6.4.1", fragments(TEXT, KOSME, b"\xf4\x90\x80\x80", b"edited"), [], 1007),
    ("7.1.1", [hello], [HELLO], CLEAN),
    ("7.1.2", [masked(CLOSE, close_of(1000)), masked(CLOSE)], [], 1000),
    ("7.1.3", [masked(CLOSE, close_of(1000)), ping], [], 1000),
    ("7.1.4", [masked(CLOSE, close_of(1000)), hello], [], 1000),
    ("7.1.5", [text(ONE, head=NO_FIN), masked(CLOSE, close_of(1000)), masked(CONTINUATION, TWO)],
     [], 1000),
    ("7.1.6", [text(b"BAsd7&jh23" * 400), hello, masked(CLOSE, close_of(1000)), ping],
     [(TEXT, b"BAsd7&jh23" * 400), HELLO], 1000),
    ("7.3.1", [masked(CLOSE)], [], NO_CODE),
    ("7.3.2", [masked(CLOSE, b"a")], [], 1002),
    ("7.3.4", [masked(CLOSE, close_of(1000, HELLO[1]))], [], 1000),
    ("7.3.5", [masked(CLOSE, close_of(1000, b"*" * 123))], [], 1000),
    ("7.3.6", [masked(CLOSE, close_of(1000, b"*" * 124))], [], 1002),
    ("7.5.1", [masked(CLOSE, close_of(1000, KOSME + b"\xed\xa0\x80"))], [], 1007),
    *(("7.7.%d" % i, [masked(CLOSE, close_of(code))], [], code) for i, code in enumerate(
        (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999))),
    *(("7.9.%d" % i, [masked(CLOSE, close_of(code))], [], 1002) for i, code in enumerate(
        (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535))),
]
for kind in (TEXT, BINARY):
    for i, size in enumerate((0, 125, 126, 127, 128, 4000)):
        payload = (b"*" if kind == TEXT else b"\xfe") * size
        CASES.append(("1.%d.%d" % (kind, i), [masked(kind, payload)], [(kind, payload)], CLEAN))

# Texts of 6.5 to 6.23; what is UTF-8, Python says.
TEXTS = [b"hello\x24world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld",
         b"hello\xf0\xa4\xad\xa2world", *(KOSME[:i] for i in range(1, len(KOSME) + 1)), b"\0",
         b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
         b"\xfc\x84\x80\x80\x80\x80", b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf",
         b"\xf7\xbf\xbf\xbf", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xbf",
         b"\x80\xbf\x80", b"\xc0 \xc1 ", b"\xe0 \xe1 ", b"\xf0 \xf1 ", b"\xfc ", b"\xc0", b"\xe0\x80",
         b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xfe", b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf",
         b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xc0\x80",
         b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",
         b"\xef\xbf\xbe", b"\xf0\x9f\xbf\xbe", b"\xf3\xbf\xbf\xbf", b"\xf4\x8f\xbf\xbe",
         b"\xef\xbf\xb9", b"\xef\xbf\xbd"]


def is_utf8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


CASES += [("6.5.%d" % i, [text(data)], [(TEXT, data)] if is_utf8(data) else [],
           CLEAN if is_utf8(data) else 1007) for i, data in enumerate(TEXTS)]


def at_once(wire, pieces):
    wire.send(*pieces)


def by_frame(wire, pieces):
    for piece in pieces:
        wire.send(piece)


def by_byte(wire, pieces):
    wire.drip(b"".join(pieces))


class Peer:
    """A connection to the server, upgraded."""

    def __init__(self, server, extra=b"", send=at_once):
        self.client = server.connect()
        self.wire = Wire(self.client)
        self.send = lambda pieces: send(self.wire, pieces)
        self.send([request(extra)])
        self.head = self.wire.head()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def talk(self, pieces, clean):
        """The frames that come back, and the code of the close."""
        try:
            self.send(pieces)
            if clean:
                self.send([masked(CLOSE, close_of(CLEAN))])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has closed before all was said
        frames = []
        while not frames or frames[-1][1] != CLOSE:
            frames.append(self.wire.frame())
        assert self.wire.rest() == b""
        payload = frames.pop()[2]
        return frames, struct.unpack(">H", payload[:2])[0] if payload else NO_CODE


class Cases(unittest.TestCase):
    def check(self, server, case, send):
        number, pieces, answers, code = case
        with self.subTest(number=number, send=send.__name__), Peer(server, send=send) as peer:
            closes = any(piece[0] & 15 == CLOSE for piece in pieces)
            frames, closed = peer.talk(pieces, code == CLEAN and not closes)
            self.assertEqual([(opcode, payload) for _, opcode, payload in frames], answers)
            self.assertTrue(all(first & 0xf0 == FIN for first, _, _ in frames))
            self.assertEqual(closed, code)

    def test_all(self):
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine, "--json") as server:
                for case in CASES:
                    for send in (at_once, by_frame, by_byte):
                        self.check(server, case, send)
                one = checked_record(self, server.stop().stdout)["runs"][0]
            with self.subTest(engine=engine):
                self.assertEqual(metric(one, "server_upgraded"), 3 * len(CASES))
                broken = sum(case[3] in (1002, 1007) and not case[0].startswith("7.7")
                             for case in CASES)
                self.assertEqual(sum(error["count"] for error in one["errors"]), 3 * broken)
                self.assertEqual(metric(one, "server_closed"), 3 * (len(CASES) - broken))

    def test_bulk(self):
        """9 and 10: large messages, in frames and in pieces of many sizes."""
        data = os.urandom(1 << 20)
        letters = bytes(33 + byte % 90 for byte in data)
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine) as server:
                for number, kind, payload, size, chop in (
                        ("9.1", TEXT, letters, None, None), ("9.2", BINARY, data, None, None),
                        ("9.3", TEXT, letters, 64, None), ("9.4", BINARY, data, 256 << 10, None),
                        ("9.5", TEXT, letters, None, 997), ("9.6", BINARY, data, 4096, 1300),
                        ("10.1", TEXT, letters[:65536], 1300, None)):
                    with self.subTest(number=number, engine=engine), Peer(server) as peer:
                        pieces = fragments(kind, *(payload[at:at + size] for at in range(
                            0, len(payload), size))) if size else [masked(kind, payload)]
                        whole = b"".join(pieces)
                        pieces = [whole[at:at + chop] for at in range(0, len(whole), chop)] \
                            if chop else [whole]
                        frames, code = peer.talk(pieces, True)
                        self.assertEqual((frames, code), ([(FIN | kind, kind, payload)], CLEAN))

    def test_round_trips(self):
        """9.7 and 9.8: one after the other on one connection."""
        with Serving("ws://127.0.0.1:0") as server, Peer(server) as peer:
            for size in (0, 16, 64, 256, 1024, 4096):
                for kind in (TEXT, BINARY):
                    for _ in range(50):
                        peer.send([masked(kind, b"x" * size)])
                        self.assertEqual(peer.wire.frame(), (FIN | kind, kind, b"x" * size))


class Deflated(Peer):
    """With permessage-deflate by Python's zlib."""

    def __init__(self, server, offer, send=at_once):
        super().__init__(server, b"Sec-WebSocket-Extensions: " + offer + b"\r\n", send)
        name, *said = [part.strip() for line in self.head.split(b"\r\n")
                       if line.lower().startswith(b"sec-websocket-extensions:")
                       for part in line.split(b":", 1)[1].split(b";")]
        assert name == b"permessage-deflate", self.head
        self.said = dict(one.split(b"=") if b"=" in one else (one, b"") for one in said)
        self.packer = self.unpacker = None

    def bits(self, of):
        return int(self.said.get(of + b"_max_window_bits") or 15)

    def pack(self, payload):
        if not self.packer or b"client_no_context_takeover" in self.said:
            self.packer = zlib.compressobj(9, zlib.DEFLATED, -self.bits(b"client"))
        return (self.packer.compress(payload) + self.packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def unpack(self, payload):
        if not self.unpacker or b"server_no_context_takeover" in self.said:
            self.unpacker = zlib.decompressobj(-self.bits(b"server"))
        return self.unpacker.decompress(payload + b"\0\0\xff\xff")

    def message(self, kind, payload, size=None):
        packed = self.pack(payload)
        if not size:
            return [masked(kind, packed, head=FIN | RSV1)]
        pieces = fragments(kind, *(packed[at:at + size] for at in range(0, len(packed), size)))
        return [bytes([pieces[0][0] | RSV1]) + pieces[0][1:], *pieces[1:]]


OFFERS = (  # 13.1 to 13.7, and what has to be said of each
    (b"permessage-deflate", {}),
    (b"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
     {b"server_no_context_takeover": b"", b"client_no_context_takeover": b""}),
    (b"permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
     {b"server_max_window_bits": b"9", b"client_max_window_bits": b"9"}),
    (b"permessage-deflate; server_max_window_bits=15", {b"server_max_window_bits": b"15"}),
    (b"permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
     {b"server_no_context_takeover": b"", b"server_max_window_bits": b"9"}),
    (b"permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
     {b"server_no_context_takeover": b"", b"server_max_window_bits": b"15"}),
    (b"x-other, permessage-deflate; server_max_window_bits=7, permessage-deflate; "
     b"server_no_context_takeover; server_max_window_bits=9, permessage-deflate",
     {b"server_no_context_takeover": b"", b"server_max_window_bits": b"9"}),
)


class DeflateCases(unittest.TestCase):
    def test_all(self):
        """12 and 13: messages that repeat and messages that cannot be compressed."""
        for engine in engines():
            with Serving("ws://127.0.0.1:0", "-e", engine, "--agree-deflate", "--json") as server:
                for offer, has_to_be in OFFERS:
                    for send in (at_once, by_byte):
                        with self.subTest(engine=engine, offer=offer, send=send.__name__), \
                                Deflated(server, offer, send) as peer:
                            self.rounds(peer, has_to_be, 200 if send is by_byte else 40000)
                one = checked_record(self, server.stop().stdout)["runs"][0]
                self.assertEqual(one["errors"], [])

    def rounds(self, peer, has_to_be, most):
        self.assertEqual({key: value for key, value in peer.said.items() if key in has_to_be},
                         has_to_be)
        for size in (0, 16, 64, 200, 1024, 8192, 40000):
            for payload, kind in ((b"{\"key\": \"value\"}" * (size // 16), TEXT),
                                  (os.urandom(size), BINARY)):
                if size > most:
                    continue
                for piece in (None, max(1, size // 5)):
                    peer.send(peer.message(kind, payload, piece))
                    first, opcode, answer = peer.wire.frame()
                    self.assertEqual((first, opcode), (FIN | RSV1 | kind, kind))
                    self.assertEqual(peer.unpack(answer), payload)
        peer.send([text(b"not compressed")])
        first, _, answer = peer.wire.frame()
        self.assertEqual(peer.unpack(answer) if first & RSV1 else answer, b"not compressed")
        frames, code = peer.talk([], True)
        self.assertEqual((frames, code), ([], CLEAN))

    def test_offers_that_cannot_be_kept(self):
        """The connection goes on without."""
        with Serving("ws://127.0.0.1:0", "--agree-deflate") as server:
            for offer in (b"permessage-deflate; server_max_window_bits=16",
                          b"permessage-deflate; unknown", b"x-webkit-deflate-frame",
                          b"permessage-deflate; client_no_context_takeover=1"):
                with self.subTest(offer=offer), \
                        Peer(server, b"Sec-WebSocket-Extensions: " + offer + b"\r\n") as peer:
                    self.assertNotIn(b"Extensions", peer.head)
                    self.assertEqual(peer.talk([hello], True),
                                     ([(FIN | TEXT, TEXT, HELLO[1])], CLEAN))

    def test_what_breaks_it(self):
        with Serving("ws://127.0.0.1:0", "--agree-deflate", "--max-message", "100k") as server:
            for what, pieces, code in (
                    ("no deflate data", [text(b"\xff" * 20, head=FIN | RSV1)], 1007),
                    ("half a block", [text(zlib.compress(b"x" * 999)[2:8], head=FIN | RSV1)], 1007),
                    ("no text inside", None, 1007), ("a bomb", None, 1009),
                    ("RSV1 on a continuation",
                     [text(b"", head=RSV1), masked(CONTINUATION, b"", head=FIN | RSV1)], 1002),
                    ("RSV1 on a ping", [masked(PING, head=FIN | RSV1)], 1002)):
                for send in (at_once, by_byte):
                    with self.subTest(what=what), \
                            Deflated(server, b"permessage-deflate", send) as peer:
                        inside = b"\xff\xfe" if what == "no text inside" else bytes(10 << 20)
                        self.assertEqual(peer.talk(pieces or peer.message(TEXT, inside), False),
                                         ([], code))


if __name__ == "__main__":
    unittest.main()
